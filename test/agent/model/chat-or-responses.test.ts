import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Fetch } from "../../../src/agent/model/contract.ts";
import { at, fromJson, textAt } from "../../../src/base/unknown.ts";
import { collect, modelFailureOf, questionOf } from "../../support/agent-config.ts";
import { CHAT } from "../../support/chat-dialect.ts";
import { createMemoryLog } from "../../support/memory-log.ts";
import type { EntryChanges } from "../../support/model.ts";
import { openModel } from "../../support/model.ts";
import { RESPONSES } from "../../support/responses-server.ts";

const TOOL = { name: "device", description: "facts", parameters: { type: "object" } };

interface Refusal {
  readonly status?: number;
  readonly message: string;
  readonly param?: string;
}

/** A rule of a server for one of its APIs: the refusal of a body; undefined answers it. */
type Rule = (body: unknown) => Refusal | undefined;

interface Server {
  readonly chat?: Rule;
  readonly responses?: Rule;
}

const effortOf = (body: unknown): unknown => at(body, "reasoning_effort");

/** OpenAI's chat completions for gpt-5.5 and later, word for word. */
const REFUSES_TOOLS: Rule = (body) =>
  effortOf(body) === "none"
    ? undefined
    : {
        message:
          "Function tools with reasoning_effort are not supported for gpt-5.6-terra in /v1/chat/completions. To use function tools, use /v1/responses or set reasoning_effort to 'none'.",
        param: "reasoning_effort",
      };
/** For gpt-5.4, where only a level is refused. */
const REFUSES_LEVELS: Rule = (body) =>
  effortOf(body) === undefined
    ? undefined
    : {
        message:
          "Function tools with reasoning_effort are not supported for gpt-5.4 in /v1/chat/completions. Please use /v1/responses instead.",
        param: "reasoning_effort",
      };
const refusesAll =
  (message: string, status = 404): Rule =>
  () => ({ message, status });

/** Responses for a model that does not think. */
const REFUSES_INCLUDE: Rule = (body) =>
  at(body, "include") === undefined
    ? undefined
    : { message: "Encrypted content is not supported with this model.", param: "include" };

/** Opens a model at a server by its rules; tells the API and the effort of each request. */
function open(entry: EntryChanges, server: Server) {
  const asked: string[] = [];
  const local: Fetch = async (url, { body }) => {
    const json = fromJson(typeof body === "string" ? body : "{}");
    const { hostname, pathname } = new URL(url);
    const isChat = pathname.endsWith("/chat/completions");
    const effort = isChat ? effortOf(json) : at(at(json, "reasoning"), "effort");
    const api = isChat ? "chat" : "responses";
    asked.push(typeof effort === "string" ? `${api} ${effort}` : api);
    assert.equal(hostname, new URL(entry.api_base || "https://api.openai.com").hostname);
    assert.equal(textAt(json, "model"), "gpt");
    const refusal = (isChat ? server.chat : server.responses)?.(json);
    if (refusal === undefined) {
      const dialect = isChat ? CHAT : RESPONSES;
      return new Response(dialect.events({ text: "yes" }).join(""));
    }
    const { status = 400, message, param = null } = refusal;
    return Response.json({ error: { message, type: "invalid_request_error", param } }, { status });
  };
  const log = createMemoryLog();
  const full = { model: "openai/gpt", ...entry };
  const model = openModel({ entry: full, defaults: { max_llm_retries: 0 }, fetch: local, log });
  const ask = () => collect(model({ ...questionOf(), tools: [TOOL] }));
  return { asked, ask, log };
}

async function askedTwice(entry: EntryChanges, server: Server): Promise<string[]> {
  const { asked, ask } = open(entry, server);
  for (const _ of [1, 2]) assert.equal((await ask()).text, "yes");
  return asked;
}

const AZURE_V1 = { provider: "azure", model: "gpt", api_base: "https://mine.openai.azure.com" };

describe("between chat completions and Responses", () => {
  it("an entry at OpenAI stays with chat completions, which take tools", async () => {
    assert.deepEqual(await askedTwice({}, {}), ["chat", "chat"]);
    const level = { thinking_level: "high" } as const;
    assert.deepEqual(await askedTwice(level, {}), ["chat high", "chat high"]);
  });

  for (const [where, entry] of Object.entries<EntryChanges>({
    OpenAI: {},
    "OpenAI in Europe": { api_base: "https://eu.api.openai.com/v1" },
    "Azure's v1 API": AZURE_V1,
    "Azure's Foundry": { ...AZURE_V1, api_base: "https://mine.services.ai.azure.com/openai/v1" },
  })) {
    it(`an entry at ${where} moves for good if the model takes tools only in Responses`, async () => {
      const { asked, ask, log } = open(entry, { chat: REFUSES_TOOLS });
      for (const _ of [1, 2]) assert.equal((await ask()).text, "yes");
      assert.deepEqual(asked, ["chat", "responses", "responses"]);
      const warnings = log.lines.filter(({ level }) => level === "warn");
      assert.match(JSON.stringify(warnings), /use \/v1\/responses/);
    });
  }

  it("an entry with a level keeps it in Responses", async () => {
    assert.deepEqual(await askedTwice({ thinking_level: "low" }, { chat: REFUSES_LEVELS }), [
      "chat low",
      "responses low",
      "responses low",
    ]);
    const extra_body = { reasoning_effort: "high" };
    assert.deepEqual(await askedTwice({ extra_body }, { chat: REFUSES_TOOLS }), [
      "chat high",
      "responses high",
      "responses high",
    ]);
  });

  for (const message of [
    "This model is only supported in v1/responses and not in v1/chat/completions.",
    "This is not a chat model and thus not supported in the v1/chat/completions endpoint. Did you mean to use v1/completions?",
  ]) {
    it(`an entry moves if the model is in Responses alone: ${message}`, async () => {
      assert.deepEqual(await askedTwice({}, { chat: refusesAll(message) }), [
        "chat",
        "responses",
        "responses",
      ]);
    });
  }

  it("calls at the same time move together", async () => {
    const { asked, ask } = open({}, { chat: REFUSES_TOOLS });
    await Promise.all([ask(), ask(), ask()]);
    assert.deepEqual(asked.slice(3), ["responses", "responses", "responses"]);
  });

  it("parameters are adapted in Responses, too", async () => {
    assert.deepEqual(await askedTwice({}, { chat: REFUSES_TOOLS, responses: REFUSES_INCLUDE }), [
      "chat",
      "responses",
      "responses",
      "responses",
    ]);
  });

  for (const [why, responses, requests] of [
    ["are not there", refusesAll("Resource not found"), ["responses"]],
    ["are not for this key", refusesAll("Missing scopes: api.responses.write", 401), ["responses"]],
    ["refuse a field of extra_body", refusesAll("Unknown parameter: 'seed'.", 400), ["responses"]],
  ] as const) {
    it(`an entry goes back, without reasoning, if Responses ${why}`, async () => {
      const server = { chat: REFUSES_TOOLS, responses };
      assert.deepEqual(await askedTwice({ extra_body: { seed: 1 } }, server), [
        "chat",
        ...requests,
        "chat",
        "chat none",
        "chat none",
      ]);
    });
  }

  it("an entry does not go back for what passes, and not after an answer", async () => {
    const answers: (Refusal | undefined)[] = [
      { status: 429, message: "slow down" },
      undefined,
      { message: "Your prompt was flagged.", status: 400 },
    ];
    const responses: Rule = () => answers.shift();
    const { asked, ask } = open({}, { chat: REFUSES_TOOLS, responses });
    await modelFailureOf(ask());
    assert.equal((await ask()).text, "yes");
    await modelFailureOf(ask());
    assert.equal((await ask()).text, "yes");
    assert.deepEqual(asked, ["chat", ...Array<string>(4).fill("responses")]);
  });

  it("an entry does not go back for what both refuse", async () => {
    let isFlagged = true;
    const flagged: Refusal = { message: "Your prompt was flagged.", status: 400 };
    const { asked, ask } = open(
      {},
      {
        chat: (body) => REFUSES_TOOLS(body) ?? (isFlagged ? flagged : undefined),
        responses: () => (isFlagged ? flagged : undefined),
      },
    );
    await modelFailureOf(ask());
    isFlagged = false;
    for (const _ of [1, 2]) assert.equal((await ask()).text, "yes");
    assert.deepEqual(asked, ["chat", "responses", "chat", "chat none", "responses", "responses"]);
  });

  for (const [where, entry] of Object.entries<EntryChanges>({
    "another server": { api_base: "https://gateway.test/v1" },
    "Azure's classic API": { ...AZURE_V1, api_base: `${AZURE_V1.api_base}?api-version=2024-10-21` },
    "a deployment of Azure": {
      ...AZURE_V1,
      api_base: `${AZURE_V1.api_base}/openai/deployments/gpt?api-version=2024-10-21`,
    },
    "OpenAI, with the protocol chat": { protocol: "chat" },
  })) {
    it(`an entry at ${where} stays, without reasoning`, async () => {
      assert.deepEqual(await askedTwice(entry, { chat: REFUSES_TOOLS }), [
        "chat",
        "chat none",
        "chat none",
      ]);
    });
  }

  it("the configured one is used everywhere, from the first request on", async () => {
    for (const api_base of ["", "https://gateway.test/v1"]) {
      const entry = { api_base, protocol: "responses" } as const;
      assert.deepEqual(await askedTwice(entry, {}), ["responses", "responses"]);
    }
  });
});
