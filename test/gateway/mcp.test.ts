import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { SILENT } from "../../src/base/log.ts";
import { SYSTEM_CLOCK } from "../../src/gateway/clock.ts";
import type { Answerer } from "../../src/gateway/contract.ts";
import { createAsk } from "../../src/gateway/http/ask.ts";
import { createCallLimit } from "../../src/gateway/http/call-limit.ts";
import { createClientAccess } from "../../src/gateway/http/client-access.ts";
import type { McpCall, McpTools } from "../../src/gateway/mcp/contract.ts";
import { createMcp } from "../../src/gateway/mcp/mcp.ts";
import { until } from "../support/until.ts";
import { startHttp } from "./http-server.ts";
import {
  createManualAnswerer,
  createTestGateway,
  createTestStore,
  OPEN_TO_ALL,
  shout,
} from "./setup.ts";

const TOKENS = { kitchen: "a-token-of-the-kitchen", hall: "a-token-of-the-hall-way" };
const DEVICE = {
  name: "device",
  description: "Measures.",
  parameters: { type: "object", properties: { facts: { type: "array" } } },
};

const now = (): number => performance.now();

/** Tools of which only the client `kitchen` may use one. */
function kitchenTools(calls: McpCall[]): McpTools {
  return {
    offered: async (client) => (client === "hall" ? [] : [DEVICE]),
    async call(call) {
      calls.push(call);
      const isError = call.client === "hall";
      return { text: isError ? "error: this client may not use device" : "warm", isError };
    },
  };
}

interface Served extends AsyncDisposable {
  readonly url: string;
  readonly calls: readonly McpCall[];
  readonly load: () => number;
}

interface ServeOptions {
  readonly tokens?: Readonly<Record<string, string>>;
  readonly policy?: Partial<typeof OPEN_TO_ALL>;
}

/** The server in front of a gateway, on a port of this machine. */
async function serve(answer: Answerer<string>, options: ServeOptions = {}): Promise<Served> {
  const policies = new Map([["mqtt", { ...OPEN_TO_ALL, intervalMs: 0, ...options.policy }]]);
  const store = createTestStore(SYSTEM_CLOCK);
  const { gateway } = createTestGateway(answer, { policies, clock: SYSTEM_CLOCK, store });
  const calls: McpCall[] = [];
  const { serve: handler } = createMcp({
    agent: "kitchen",
    version: "1.2.3",
    ask: createAsk({ accept: (request) => gateway.accept(request), policies, channel: "mqtt" }),
    tools: kitchenTools(calls),
    refusal: createCallLimit({ policies, channel: "mqtt" }, now),
    accessOf: createClientAccess({
      tokens: new Map(Object.entries(options.tokens ?? {})),
      local: "mcp",
      isOpenToCommands: () => false,
      now,
    }),
    log: SILENT,
  });
  const server = await startHttp(handler);
  return {
    url: `http://127.0.0.1:${server.port}/mcp`,
    calls,
    load: gateway.load,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await gateway.drain(0);
    },
  };
}

type Era = "auto" | "legacy";

async function connect(url: string, era: Era, token?: string): Promise<Client> {
  const headers: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {};
  const client = new Client(
    { name: "test", version: "1" },
    era === "auto" ? { versionNegotiation: { mode: "auto" } } : {},
  );
  await client.connect(
    new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }),
  );
  return client;
}

function post(
  url: string,
  body: unknown,
  headers: Record<string, string> = {},
  signal: AbortSignal | null = null,
): Promise<Response> {
  return fetch(url, {
    signal,
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      ...headers,
    },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
}

const as = (token: string) => ({ authorization: `Bearer ${token}` });

const LIST = { jsonrpc: "2.0", id: 1, method: "tools/list" };

function callOf(name: string, given: object, id = 1): object {
  return { jsonrpc: "2.0", id, method: "tools/call", params: { name, arguments: given } };
}

describe("the MCP server", () => {
  for (const era of ["auto", "legacy"] as const) {
    it(`speaks with the client of the protocol: ${era}`, async () => {
      await using server = await serve(async function* ({ text, client }) {
        yield `${client} asked: `;
        await new Promise((resolve) => setTimeout(resolve, 30));
        yield text;
        return { messages: [] };
      });
      const client = await connect(server.url, era);
      assert.equal(client.getServerVersion()?.title, "picoclaw kitchen");
      const { tools } = await client.listTools();
      assert.deepEqual(
        tools.map(({ name, annotations }) => [name, annotations?.readOnlyHint]),
        [
          ["ask", false],
          ["device", true],
        ],
      );
      const asked = { name: "ask", arguments: { question: "is it warm?" } };
      const heard: string[] = [];
      const onprogress = ({ message = "" }): void => void heard.push(message);
      const answer = await client.callTool(asked, { onprogress });
      assert.deepEqual(answer.content, [{ type: "text", text: "mcp asked: is it warm?" }]);
      assert.equal(heard[0], "mcp asked: ");
      const measured = await client.callTool({ name: "device", arguments: { facts: ["load"] } });
      assert.deepEqual(measured.content, [{ type: "text", text: "warm" }]);
      assert.deepEqual(server.calls[0]?.arguments, { facts: ["load"] });
      assert.equal(server.calls[0]?.client, "mcp");
      await client.close();
    });
  }

  it("knows clients by their tokens, and a client has its tools alone", async () => {
    await using server = await serve(shout, { tokens: TOKENS });
    const [kitchen, hall] = [
      await connect(server.url, "auto", TOKENS.kitchen),
      await connect(server.url, "legacy", TOKENS.hall),
    ];
    assert.equal((await kitchen.listTools()).tools.length, 2);
    assert.deepEqual(
      (await hall.listTools()).tools.map(({ name }) => name),
      ["ask"],
    );
    const refused = await hall.callTool({ name: "device", arguments: {} });
    assert.equal(refused.isError, true);
    assert.match(JSON.stringify(refused.content), /may not use device/);
    await Promise.all([kitchen.close(), hall.close()]);
    const without = await post(server.url, LIST);
    assert.equal(without.status, 401);
    assert.equal(without.headers.get("www-authenticate"), "Bearer");
    const wrong = await post(server.url, LIST, { authorization: "Bearer a-token-of-nobody" });
    assert.equal(wrong.status, 401);
  });

  it("has no sessions: an id of another opens nothing, and none can be made to fill it", async () => {
    await using server = await serve(shout, { tokens: TOKENS });
    const stolen = { "mcp-session-id": "1868a90c-c9e2-4f0a-a2f8-b5e4c0c0ffee" };
    assert.equal((await post(server.url, LIST, stolen)).status, 401);
    const bearer = { authorization: `Bearer ${TOKENS.hall}` };
    const text = await (await post(server.url, LIST, { ...stolen, ...bearer })).text();
    assert.doesNotMatch(text, /device/);
    const hello = {
      ...LIST,
      method: "initialize",
      params: {
        protocolVersion: "2025-06-18",
        capabilities: {},
        clientInfo: { name: "t", version: "1" },
      },
    };
    for (let tries = 0; tries < 50; tries += 1) {
      const response = await post(server.url, hello, bearer);
      assert.equal(response.status, 200);
      assert.equal(response.headers.get("mcp-session-id"), null);
      await response.text();
    }
    for (const method of ["GET", "DELETE"]) {
      const response = await fetch(server.url, { method, headers: { ...bearer, ...stolen } });
      assert.equal(response.status, 405);
      await response.text();
    }
  });

  it("refuses pages of other sites, foreign names, and bodies that are too large or none", async () => {
    await using server = await serve(shout);
    for (const headers of [{ origin: "https://evil.example" }, { "x-forwarded-for": "10.0.0.9" }]) {
      const response = await post(server.url, LIST, headers);
      assert.equal(response.status, 403, JSON.stringify(headers));
      assert.match(await response.text(), /"code":-32000/);
    }
    const bomb = await post(server.url, callOf("ask", { question: "x".repeat(2 ** 20) }));
    assert.equal(bomb.status, 413);
    const deep = `${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}`;
    for (const body of ["{", deep, "[]", '"text"', "[".repeat(1000)]) {
      const response = await post(server.url, body);
      assert.ok(response.status >= 400 && response.status < 500, `${response.status}`);
      await response.text();
    }
    assert.equal((await post(server.url, LIST)).status, 200);
  });

  it("tells what is wrong with a call in its result", async () => {
    const limits = { ...OPEN_TO_ALL.limits, requests_per_minute: 1, burst: 1 };
    await using server = await serve(shout, { policy: { limits } });
    const client = await connect(server.url, "auto");
    const call = async (name: string, given: object) => {
      const { content, isError } = await client.callTool({ name, arguments: { ...given } });
      assert.equal(isError, true);
      return JSON.stringify(content);
    };
    assert.match(await call("ask", {}), /a question is needed/);
    assert.match(await call("ask", { question: ["x"] }), /a question is needed/);
    assert.match(await call("ask", { question: "x".repeat(300_000) }), /longer than/);
    const calls = [1, 2].map(() => client.callTool({ name: "device", arguments: {} }));
    const results = await Promise.all(calls);
    assert.equal(results.filter(({ isError }) => isError === true).length, 1);
    assert.match(await call("device", {}), /too many requests, please wait; again in \d+ s/);
    assert.equal(
      (await client.callTool({ name: "ask", arguments: { question: "a" } })).isError,
      false,
    );
    assert.match(await call("ask", { question: "b" }), /too many requests/);
    await client.close();
    await using closed = await serve(shout, { policy: { denyFrom: ["mcp"] } });
    const other = await connect(closed.url, "auto");
    for (const name of ["device", "ask"]) {
      const given = { name, arguments: { question: "a" } };
      const { content } = await other.callTool(given);
      assert.match(JSON.stringify(content), /not allowed to ask here/);
    }
    await other.close();
  });

  it("cancels the turn of a client that leaves, and takes sixteen requests at a time, eight of one", async () => {
    const { answer, running, end } = createManualAnswerer();
    const porch = "a-token-of-the-porch";
    await using server = await serve(answer, { tokens: { ...TOKENS, porch } });
    const leave = new AbortController();
    const askAs = (token: string) =>
      Array.from({ length: 8 }, async (_, id) => {
        const body = callOf("ask", { question: `question ${id}` }, id);
        const asked = post(server.url, body, as(token), leave.signal);
        return asked.then((response) => response.text()).catch(() => "left");
      });
    const statusFor = async (token: string) => {
      const answered = await post(server.url, LIST, as(token));
      await answered.text();
      return answered.status;
    };
    const open = askAs(TOKENS.kitchen);
    await until("eight are accepted", () => server.load() === 8);
    assert.equal(await statusFor(TOKENS.kitchen), 503);
    assert.equal(await statusFor(TOKENS.hall), 200);
    open.push(...askAs(TOKENS.hall));
    await until("all are accepted", () => server.load() === 16);
    assert.equal(await statusFor(porch), 503);
    leave.abort();
    await Promise.allSettled(open);
    await until("no turn is left", () => running() === 0 && server.load() === 0);
    const last = post(server.url, callOf("ask", { question: "still there?" }), as(porch));
    await until("it runs", () => running() === 1);
    end();
    assert.match(await (await last).text(), /answer to still there/);
  });
});
