import assert from "node:assert/strict";
import { request as httpRequest } from "node:http";
import { describe, it } from "node:test";
import { SILENT } from "../../src/base/log.ts";
import { SYSTEM_CLOCK } from "../../src/gateway/clock.ts";
import type { Answerer } from "../../src/gateway/contract.ts";
import { createAsk } from "../../src/gateway/http/ask.ts";
import { createClientAccess } from "../../src/gateway/http/client-access.ts";
import { modelOf } from "../../src/gateway/ollama/models.ts";
import { createOllama } from "../../src/gateway/ollama/ollama.ts";
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

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
  readonly json: () => Record<string, unknown>;
}

interface Asked {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

interface Served extends AsyncDisposable {
  readonly ask: (path: string, asked?: Asked) => Promise<Answer>;
  readonly chat: (text: string, more?: object, headers?: Asked["headers"]) => Promise<Answer>;
  readonly port: number;
  readonly load: () => number;
}

interface ServeOptions {
  readonly tokens?: Readonly<Record<string, string>>;
  readonly policy?: Partial<typeof OPEN_TO_ALL>;
  readonly isOpenToCommands?: boolean;
}

/** The API in front of a gateway, on a port of this machine. */
async function serve(answer: Answerer<string>, options: ServeOptions = {}): Promise<Served> {
  const policies = new Map([["mqtt", { ...OPEN_TO_ALL, ...options.policy }]]);
  const store = createTestStore(SYSTEM_CLOCK);
  const { gateway } = createTestGateway(answer, { policies, clock: SYSTEM_CLOCK, store });
  const handler = createOllama({
    model: modelOf("green house:1", new Date()),
    accessOf: createClientAccess({
      tokens: new Map(Object.entries(options.tokens ?? {})),
      local: "ollama",
      isOpenToCommands: () => options.isOpenToCommands ?? false,
      now: () => performance.now(),
    }),
    ask: createAsk({ accept: (request) => gateway.accept(request), policies, channel: "mqtt" }),
    log: SILENT,
  });
  const server = await startHttp(handler);
  const { port } = server;
  const ask: Served["ask"] = (path, asked) => askOnce(port, path, asked);
  return {
    port,
    ask,
    load: gateway.load,
    chat(text, more = {}, headers = {}) {
      const messages = [{ role: "user", content: text }];
      return ask("/api/chat", { body: { model: MODEL, messages, ...more }, headers });
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await gateway.drain(0);
    },
  };
}

const MODEL = "green-house-1:latest";

function askOnce(port: number, path: string, { body, headers }: Asked = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? "GET" : "POST";
    const options = { host: "127.0.0.1", port, path, method, headers, agent: false };
    const request = httpRequest(options, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (piece: string) => (text += piece));
      response.on("error", reject);
      response.on("end", () => {
        const type = response.headers["content-type"] ?? "";
        resolve({ status: response.statusCode ?? 0, type, text, json: () => JSON.parse(text) });
      });
    });
    request.on("error", reject);
    request.end(typeof body === "string" ? body : JSON.stringify(body));
  });
}

/** From another machine, by a name of this one. */
const bearer = (token: string) => ({ authorization: `Bearer ${token}`, host: "pi.example" });

const linesOf = ({ text }: Answer): Record<string, unknown>[] =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

describe("the API of Ollama", () => {
  it("names the agent as its one model", async () => {
    await using api = await serve(shout);
    const { models } = (await api.ask("/api/tags")).json();
    assert.ok(Array.isArray(models));
    assert.equal(models.length, 1);
    const { digest, modified_at, ...entry } = models[0];
    assert.match(digest, /^[0-9a-f]{64}$/);
    assert.ok(Number.isFinite(Date.parse(modified_at)));
    assert.equal(entry.name, MODEL);
    assert.equal(entry.model, MODEL);
    const shown = (await api.ask("/api/show", { body: { name: "green-house-1" } })).json();
    assert.deepEqual(shown["capabilities"], ["completion", "vision"]);
    assert.deepEqual(shown["model_info"], { "general.architecture": "picoclaw" });
    assert.deepEqual((await api.ask("/api/ps")).json(), { models: [] });
    const unknown = await api.ask("/api/pull", { body: { model: "llama3" } });
    assert.equal(unknown.status, 404);
    assert.match(String(unknown.json()["error"]), /POST \/api\/pull is not part of this API/);
  });

  it("answers a chat in lines, or whole", async () => {
    await using api = await serve(shout);
    const streamed = await api.chat("hello");
    assert.equal(streamed.status, 200);
    assert.equal(streamed.type, "application/x-ndjson");
    const [first, last] = linesOf(streamed);
    assert.deepEqual(first?.["message"], { role: "assistant", content: "HELLO" });
    assert.equal(first?.["done"], false);
    assert.deepEqual(last?.["message"], { role: "assistant", content: "" });
    assert.equal(last?.["done"], true);
    assert.equal(last?.["done_reason"], "stop");
    assert.ok(Number(last?.["total_duration"]) > 0);
    const whole = await api.chat("hello", { stream: false });
    assert.match(whole.type, /^application\/json/);
    assert.deepEqual(whole.json()["message"], { role: "assistant", content: "HELLO" });
    const loaded = await api.ask("/api/chat", { body: { model: MODEL, messages: [] } });
    assert.equal(loaded.json()["done_reason"], "load");
  });

  it("hands over the last question alone, with its images and its format", async () => {
    const turns: object[] = [];
    await using api = await serve(async function* ({ text, images, format, client }) {
      turns.push({ text, images, format, client });
      yield "{}";
      return { messages: [] };
    });
    const png = "iVBORw0KGgoAAAAN";
    const schema = { type: "object", properties: { on: { type: "boolean" } } };
    const messages = [
      { role: "system", content: "You obey everyone." },
      { role: "user", content: "before" },
      { role: "assistant", content: "well" },
      { role: "user", content: "what is this?", images: [png] },
    ];
    const tools = [{ type: "function", function: { name: "HassTurnOn", parameters: {} } }];
    const more = { model: MODEL, messages, tools, think: true, keep_alive: "60s", stream: false };
    assert.equal((await api.ask("/api/chat", { body: { ...more, format: schema } })).status, 200);
    assert.equal((await api.chat("as JSON", { format: "json", stream: false })).status, 200);
    assert.deepEqual(turns, [
      {
        text: "what is this?",
        images: [{ mediaType: "image/png", data: png }],
        format: { type: "json_schema", schema },
        client: "ollama",
      },
      {
        text: "as JSON",
        images: undefined,
        format: { type: "json_schema", schema: { type: "object" } },
        client: "ollama",
      },
    ]);
  });

  it("tells what is wrong with a request, in the shape of Ollama's errors", async () => {
    await using api = await serve(shout);
    const user = { role: "user", content: "hello" };
    const cases: [unknown, number, RegExp][] = [
      ["{", 400, /not JSON/],
      [[], 400, /not a JSON object/],
      [{ messages: [user] }, 400, /no model/],
      [{ model: "llama3", messages: [user] }, 404, /model "llama3" not found/],
      [{ model: MODEL, messages: [{ role: "tool", content: "{}" }] }, 400, /not from the user/],
      [{ model: MODEL, messages: [{ role: "user", content: " " }] }, 400, /blank/],
      [{ model: MODEL, messages: [{ ...user, images: ["AAAA"] }] }, 400, /no JPEG, PNG or WebP/],
      [{ model: MODEL, messages: [user], format: { type: "thing" } }, 400, /schema/],
      [{ model: MODEL, messages: [{ ...user, content: "x".repeat(300_000) }] }, 413, /longer/],
      [`{"model": "${"x".repeat(9 * 2 ** 20)}"}`, 413, /larger than/],
    ];
    for (const [body, status, error] of cases) {
      const answer = await api.ask("/api/chat", { body });
      assert.equal(answer.status, status, String(error));
      assert.match(String(answer.json()["error"]), error);
    }
    const large = { model: MODEL, system: "x".repeat(100_000) };
    assert.equal((await api.ask("/api/show", { body: large })).status, 413);
  });

  it("lets this machine ask without tokens, and no page of another site", async () => {
    await using api = await serve(shout);
    const refused: Record<string, string>[] = [
      { host: "evil.example" },
      { host: `evil.example:${api.port}` },
      { origin: "https://evil.example" },
      { origin: "null" },
      { "sec-fetch-site": "cross-site" },
      { "x-forwarded-for": "203.0.113.7" },
    ];
    for (const headers of refused) {
      const answer = await api.chat("hello", {}, headers);
      assert.equal(answer.status, 403, JSON.stringify(headers));
      assert.equal(typeof answer.json()["error"], "string");
    }
    const own = `localhost:${api.port}`;
    assert.equal((await api.chat("hello", {}, { host: own, origin: `http://${own}` })).status, 200);
  });

  it("lets nobody ask without a token where commands of clients reach it", async () => {
    await using open = await serve(shout, { isOpenToCommands: true });
    const answer = await open.chat("hello");
    assert.equal(answer.status, 403);
    assert.match(String(answer.json()["error"]), /commands of clients reach this port/);
    await using closed = await serve(shout, { isOpenToCommands: true, tokens: TOKENS });
    assert.equal((await closed.chat("hello", {}, bearer(TOKENS.hall))).status, 200);
  });

  it("knows clients by their tokens, and nobody without one", async () => {
    const clients: string[] = [];
    await using api = await serve(
      async function* ({ client }) {
        clients.push(client);
        yield client;
        return { messages: [] };
      },
      { tokens: TOKENS },
    );
    assert.equal((await api.chat("hello", {}, bearer(TOKENS.kitchen))).status, 200);
    assert.equal((await api.chat("hello", {}, bearer(TOKENS.hall))).status, 200);
    assert.deepEqual(clients, ["kitchen", "hall"]);
    assert.equal((await api.chat("hello")).status, 401);
    const foreign = { ...bearer(TOKENS.hall), origin: "https://evil.example" };
    assert.equal((await api.chat("hello", {}, foreign)).status, 403);
    for (let tries = 0; tries < 10; tries += 1) {
      assert.equal((await api.chat("hello", {}, bearer("a-token-of-nobody"))).status, 401);
    }
    assert.equal((await api.chat("hello", {}, bearer("a-token-of-nobody"))).status, 429);
    assert.equal(clients.length, 2);
  });

  it("answers with the status that an error has, also twice within a minute", async () => {
    await using closed = await serve(shout, { policy: { allowFrom: ["somebody"] } });
    for (const _ of [1, 2]) assert.equal((await closed.chat("hello")).status, 403);
    const limits = { ...OPEN_TO_ALL.limits, requests_per_minute: 1, burst: 1 };
    await using limited = await serve(shout, { policy: { limits } });
    assert.equal((await limited.chat("hello")).status, 200);
    const answer = await limited.chat("again");
    assert.equal(answer.status, 429);
    assert.match(String(answer.json()["error"]), /too many requests/);
  });

  it("ends a stream whose model fails with a line that says so", async () => {
    await using api = await serve(
      async function* () {
        yield "It is ";
        await new Promise((resolve) => setTimeout(resolve, 20));
        throw new Error("secret details");
      },
      { policy: { intervalMs: 0 } },
    );
    const lines = linesOf(await api.chat("hello"));
    assert.deepEqual(lines[0]?.["message"], { role: "assistant", content: "It is " });
    assert.deepEqual(lines.at(-1), { error: "something went wrong inside picoclaw" });
  });

  it("cancels what nobody waits for, running and queued, and that alone", async () => {
    const { answer, began, end, running } = createManualAnswerer();
    await using api = await serve(answer);
    const post = (text: string) => {
      const headers = { "content-type": "application/json" };
      const options = { host: "127.0.0.1", port: api.port, path: "/api/chat", method: "POST" };
      const request = httpRequest({ ...options, headers, agent: false });
      request.on("error", () => {});
      request.end(JSON.stringify({ model: MODEL, messages: [{ role: "user", content: text }] }));
      return request;
    };
    const first = post("first");
    await until("the first turn has begun", () => began.includes("first"));
    const second = post("second");
    await until("the second one waits", () => api.load() === 2);
    const third = api.chat("third", { stream: false });
    await until("the third one waits", () => api.load() === 3);
    second.destroy();
    await api.ask("/api/tags");
    first.destroy();
    await until("the third turn has begun", () => began.includes("third"));
    assert.equal(running(), 1);
    end();
    assert.equal((await third).status, 200);
    assert.deepEqual(began, ["first", "third"]);
  });
});
