import { createServer } from "node:http";
import type { ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";
import { connectAsync } from "mqtt";
import { startMosquitto } from "../../support/mosquitto.ts";
import { until } from "../../support/until.ts";

/** A message that the broker passed on. */
export interface Heard {
  readonly topic: string;
  readonly payload: string;
}

/** A broker in the open, with somebody who hears all that is said on it. */
export interface Surroundings extends AsyncDisposable {
  readonly broker: string;
  readonly heard: readonly Heard[];
  publish(topic: string, payload: string | Buffer, options?: PublishOptions): Promise<void>;
  /** Calls the listener with each further message; returns what ends that. */
  onHeard(listener: (message: Heard) => void): () => void;
}

export interface PublishOptions {
  readonly retain?: boolean;
  /** MQTT 5's Response Topic. */
  readonly response?: string | undefined;
  /** Its Correlation Data. */
  readonly correlation?: string | undefined;
}

export async function openSurroundings(): Promise<Surroundings> {
  const mosquitto = await startMosquitto();
  const client = await connectAsync(mosquitto.url, { protocolVersion: 5 });
  const heard: Heard[] = [];
  const listeners = new Set<(message: Heard) => void>();
  client.on("message", (topic, payload) => {
    const message = { topic, payload: payload.toString("utf8") };
    heard.push(message);
    for (const listener of listeners) listener(message);
  });
  await client.subscribeAsync(["#", "$a2a/#"], { qos: 1 });
  return {
    broker: mosquitto.url,
    heard,
    async publish(topic, payload, { retain = false, response, correlation } = {}) {
      const properties = {
        ...(response !== undefined && { responseTopic: response }),
        ...(correlation !== undefined && { correlationData: Buffer.from(correlation) }),
      };
      const before = heard.length;
      await client.publishAsync(topic, payload, { qos: 1, retain, properties });
      if (!topic.startsWith("$") || topic.startsWith("$a2a/"))
        await until("it is heard", () => heard.length > before);
    },
    onHeard(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async [Symbol.asyncDispose]() {
      await client.endAsync(true);
      await mosquitto[Symbol.asyncDispose]();
    },
  };
}

/** A web server that remembers what it was asked for. */
export interface Outside extends AsyncDisposable {
  readonly base: string;
  readonly seen: string[];
}

/** Pages by path, without their query; `-> address` redirects, `gzip 1000` is 1,000 zeros, `endless` never ends. */
export async function openOutside(
  host: string,
  page: (path: string) => string | undefined,
): Promise<Outside> {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    const url = request.url ?? "";
    seen.push(`${request.method ?? ""} ${url}`);
    send(page(url.replace(/\?.*$/, "")), response);
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    base: `http://${host}:${port}`,
    seen,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function send(page: string | undefined, response: ServerResponse): void {
  if (page === undefined) {
    response.writeHead(404, { "content-type": "text/plain" }).end("nothing here");
    return;
  }
  const location = /^-> (.*)/.exec(page)?.[1];
  const zeros = /^gzip (\d+)/.exec(page)?.[1];
  if (location !== undefined) response.writeHead(302, { location }).end();
  else if (zeros !== undefined) {
    const headers = { "content-type": "text/plain", "content-encoding": "gzip" };
    response.writeHead(200, headers).end(gzipSync(new Uint8Array(Number(zeros)).fill(48)));
  } else if (page === "endless") {
    response.writeHead(200, { "content-type": "text/plain" });
    const more = (): unknown => !response.destroyed && response.write("0".repeat(65_536), more);
    more();
  } else response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(page);
}
