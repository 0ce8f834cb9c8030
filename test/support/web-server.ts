import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { at } from "../../src/base/unknown.ts";

export type Handler = (request: IncomingMessage, response: ServerResponse, body: string) => void;

/** A real HTTP server on loopback that remembers what it was asked for. */
export interface WebServer extends AsyncDisposable {
  readonly port: number;
  /** `http://127.0.0.1:port`. */
  readonly base: string;
  /** Method and path of every request, in their order. */
  readonly seen: string[];
}

export async function openWebServer(
  handler: Handler,
  { host = "127.0.0.1", port = 0 } = {},
): Promise<WebServer> {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    seen.push(`${request.method ?? ""} ${request.url ?? ""}`);
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (chunk: string) => (body += chunk));
    request.on("end", () => handler(request, response, body));
  });
  server.on("clientError", (_, socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(port, host, resolve));
  const taken = Number(at(server.address(), "port"));
  return {
    port: taken,
    base: `http://${host}:${taken}`,
    seen,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Where an address sends a browser on to. */
export async function redirectedFrom(address: string | URL): Promise<string> {
  const answer = await fetch(address, { redirect: "manual" });
  return answer.headers.get("location") ?? "";
}

/** Answers with a body and its type. */
export function answerWith(type: string, body: string | Uint8Array, headers = {}): Handler {
  return (_, response) => {
    response.writeHead(200, {
      "content-type": type,
      "content-length": Buffer.byteLength(body),
      ...headers,
    });
    response.end(body);
  };
}
