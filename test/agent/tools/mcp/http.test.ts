import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { describe, it } from "node:test";
import { collectGarbage } from "../../../../src/base/host.ts";
import { at, fromJson, textAt } from "../../../../src/base/unknown.ts";
import { mcpServer, openTestMcp } from "../../../support/mcp.ts";
import { until } from "../../../support/until.ts";
import { openWebServer } from "../../../support/web-server.ts";
import type { WebServer } from "../../../support/web-server.ts";

/** A server over HTTP without the libraries of the protocol: `look` answers, and `wait` never does. */
interface PlainServer extends AsyncDisposable {
  readonly url: string;
  /** The methods of all messages; of a cancellation also its request, of a closed request `closed`. */
  readonly heard: string[];
  /** Its open streams of notifications. */
  readonly streams: ReadonlySet<unknown>;
  /** Changes the list, and says so as often. */
  readonly change: (times: number) => void;
}

const WORDS = { old: "2025-11-25", new: "2026-07-28" };

async function openPlainServer(version: string): Promise<PlainServer> {
  const heard: string[] = [];
  const streams = new Set<(message: object) => void>();
  const keep = (response: ServerResponse, send: (message: object) => void): void => {
    streams.add(send);
    response.on("close", () => streams.delete(send));
  };
  const names = ["look", "wait"];
  const isNew = version === WORDS.new;
  const capabilities = { tools: { listChanged: true } };
  const info = { name: "plain", version: "1" };
  const more = isNew ? { resultType: "complete", ttlMs: 600_000, cacheScope: "private" } : {};
  const results: Readonly<Record<string, () => object>> = {
    ...(isNew && { "server/discover": () => ({ supportedVersions: [version], capabilities }) }),
    ...(!isNew && {
      initialize: () => ({ protocolVersion: version, capabilities, serverInfo: info }),
    }),
    "tools/list": () => ({
      tools: names.map((name) => ({ name, inputSchema: { type: "object" } })),
    }),
    "tools/call": () => ({ content: [{ type: "text", text: "all is well" }] }),
  };
  const web: WebServer = await openWebServer((request, response, body) => {
    if (request.method === "GET" && !isNew) {
      keep(response, streamTo(response));
      return;
    }
    if (request.method !== "POST") {
      response.writeHead(405).end();
      return;
    }
    const message = fromJson(body);
    const [id, method, params] = [
      at(message, "id"),
      textAt(message, "method"),
      at(message, "params"),
    ];
    const cancelled = at(params, "requestId");
    heard.push(cancelled === undefined ? method : `${method} ${JSON.stringify(cancelled)}`);
    response.on("close", () => {
      if (!response.writableFinished) heard.push(`closed ${method} ${String(id)}`);
    });
    if (id === undefined) {
      response.writeHead(202).end();
      return;
    }
    if (method === "subscriptions/listen") {
      keep(response, listenTo(response, id));
      return;
    }
    if (method === "tools/call" && at(params, "name") === "wait") {
      streamTo(response);
      return;
    }
    const result = results[method]?.();
    const error = { code: -32_601, message: "Method not found" };
    const answer = result === undefined ? { error } : { result: { ...more, ...result } };
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ jsonrpc: "2.0", id, ...answer }));
  });
  return {
    url: `${web.base}/mcp`,
    heard,
    streams,
    change(times) {
      for (let count = 1; count <= times; count += 1) {
        names.push(`new${names.length}`);
        for (const send of streams) send({ method: "notifications/tools/list_changed" });
      }
    },
    [Symbol.asyncDispose]: () => web[Symbol.asyncDispose](),
  };
}

/** A subscription to the list of tools. */
function listenTo(response: ServerResponse, id: unknown): (message: object) => void {
  const send = streamTo(response);
  const _meta = { "io.modelcontextprotocol/subscriptionId": id };
  send({
    method: "notifications/subscriptions/acknowledged",
    params: { notifications: { toolsListChanged: true }, _meta },
  });
  return (message) => send({ ...message, params: { _meta } });
}

function streamTo(response: ServerResponse): (message: object) => void {
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.flushHeaders();
  return (message) =>
    void response.write(`data: ${JSON.stringify({ jsonrpc: "2.0", ...message })}\n\n`);
}

for (const [era, version] of Object.entries(WORDS)) {
  describe(`a server over HTTP of the ${era} version ${version}`, () => {
    it("is asked for its list anew when it says so, and not as often", async () => {
      await using server = await openPlainServer(version);
      await using servers = await openTestMcp([mcpServer({ type: "http", url: server.url })]);
      const lists = () => server.heard.filter((method) => method === "tools/list").length;
      assert.equal(servers.tools().length, 2);
      await until("it is listened to", async () => {
        server.change(1);
        return servers.tools().length > 2;
      });
      const before = lists();
      server.change(50);
      await until("the newest list is there", () => servers.tools().length > 50);
      assert.ok(lists() - before <= 2, server.heard.join(" "));
    });

    it("is left at the end, also if the response of its stream was collected", async () => {
      await using server = await openPlainServer(version);
      {
        await using _ = await openTestMcp([mcpServer({ type: "http", url: server.url })]);
        await until("it is listened to", () => server.streams.size > 0);
        collectGarbage();
      }
      await until("no stream is open", () => server.streams.size === 0);
    });

    it("hears that a call is cancelled", async () => {
      await using server = await openPlainServer(version);
      await using servers = await openTestMcp([mcpServer({ type: "http", url: server.url })]);
      const stop = new AbortController();
      const call = servers.run("mcp_test_wait", {}, { signal: stop.signal });
      await until("it was called", () => server.heard.includes("tools/call"));
      stop.abort(new Error("stopped"));
      await assert.rejects(call, /stopped/);
      const cancelled =
        version === WORDS.new ? /^closed tools\/call/ : /^notifications\/cancelled \d/;
      await until("it heard that", () => server.heard.some((line) => cancelled.test(line)));
      assert.equal(await servers.run("mcp_test_look"), "all is well");
    });
  });
}
