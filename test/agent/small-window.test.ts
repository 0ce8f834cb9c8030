import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { openAgent } from "../../src/agent/agent.ts";
import { laneOf } from "../../src/gateway/request-keys.ts";
import { ask } from "../gateway/client.ts";
import { agentConfig, modelEntry } from "../support/agent-config.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { answers, refuses, startModelServer, streams } from "../support/model-server.ts";
import type { Behaviour, ChatRequest, ModelServer } from "../support/model-server.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";
import { serve } from "./scenario-run.ts";

let server: ModelServer;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
beforeEach(async () => {
  [server, folder] = await Promise.all([startModelServer(), temporaryFolder()]);
});
afterEach(async () => {
  await server.close();
  await folder[Symbol.asyncDispose]();
});

const WINDOW = 4096;

/** The server's own tokenizer: a word has one token for six letters, a mark one. */
function countOf({ messages, tools = [] }: ChatRequest): number {
  const text = JSON.stringify([messages, tools]).replaceAll("\\n", "\n");
  return text.match(/[A-Za-z]{1,6}|\d{1,3}|[^\sA-Za-z\d"]/g)?.length ?? 0;
}

function usageOf(tokens: number) {
  return { prompt_tokens: tokens, completion_tokens: 20, total_tokens: tokens + 20 };
}

const FACT = /the code of the gate is (\w+)/i;

/** A small model that summarizes what it is given, and knows what is in its request. */
function remembers(read: (request: ChatRequest) => number): Behaviour {
  return async (request, response) => {
    const { messages } = request.body;
    const code = FACT.exec(JSON.stringify(messages))?.[1];
    const isSummary = request.body.tools === undefined;
    const known = code === undefined ? "Nothing is known." : `The code of the gate is ${code}.`;
    const asked = messages.findLast(({ role }) => role === "user")?.content ?? "";
    const isAboutCode = asked.includes("What is the code");
    const text = isSummary || isAboutCode ? known : "The tank is half full, as before. ".repeat(20);
    await streams({ text, usage: usageOf(read(request.body)) })(request, response);
  };
}

/** Like llama.cpp: what is too long is refused. */
function refusesLong(otherwise: Behaviour): Behaviour {
  return async (request, response) => {
    const tokens = countOf(request.body);
    const message = `request (${tokens} tokens) exceeds the available context size (${WINDOW} tokens), try increasing it`;
    const error = { code: 400, message, type: "exceed_context_size_error" };
    await (tokens > WINDOW ? refuses(400, { error }) : otherwise)(request, response);
  };
}

async function openProgram(defaults: Parameters<typeof agentConfig>[1] = {}) {
  const config = agentConfig([modelEntry({ api_base: server.base })], {
    workspace: folder.path,
    max_llm_retries: 0,
    ...defaults,
  });
  const log = createMemoryLog();
  const { lines } = log;
  const agent = await openAgent({ config, log });
  const { store, gateway } = await serve(agent, folder.path);
  const lane = laneOf({ channel: "mqtt", client: "device" });
  return {
    lines,
    async say(text: string): Promise<string> {
      const asked = ask(text);
      void gateway.accept(asked.request);
      await asked.done;
      return asked.text();
    },
    summary: async () => (await store.conversation(lane)).summary?.text ?? "",
    async [Symbol.asyncDispose]() {
      await gateway.drain(0);
      await agent.close();
      await store.close();
    },
  };
}

const question = (turn: number): string =>
  `This is message ${turn}: what do you say of the level in the tank by the northern gate, and has anything changed since the last time that somebody asked you about it?`;

async function converse(program: Awaited<ReturnType<typeof openProgram>>): Promise<string> {
  for (let turn = 1; turn < 30; turn += 1) {
    await program.say(turn === 2 ? "Remember: the code of the gate is Kestrel7." : question(turn));
    // By turn 20 the first turns are summarized, so that nothing depends on how fast the test is.
    if (turn === 20) {
      await until("it is summarized", async () => (await program.summary()).includes("Kestrel7"));
    }
  }
  return program.say("What is the code of the gate?");
}

describe("a conversation of 30 turns in a window of 4,096 tokens", () => {
  it("keeps a fact from turn 2 to turn 30, and never asks for more than the window", async () => {
    server.otherwise(refusesLong(remembers(countOf)));
    await using program = await openProgram({
      context_window: WINDOW,
      summarize_message_threshold: 0,
    });
    assert.match(await converse(program), /Kestrel7/);
    const sizes = server.requests.map(({ body }) => countOf(body));
    assert.ok(Math.max(...sizes) <= WINDOW, `${Math.max(...sizes)}`);
    assert.deepEqual(
      program.lines.filter(({ level }) => level === "warn").map(({ message }) => message),
      [],
    );
  });

  it("is refused once where nobody told the window, and never again", async () => {
    server.otherwise(refusesLong(remembers(countOf)));
    await using program = await openProgram({ summarize_message_threshold: 0 });
    assert.match(await converse(program), /Kestrel7/);
    const refused = server.requests.filter(({ body }) => countOf(body) > WINDOW);
    assert.equal(refused.length, 1);
  });

  it("is cut in silence at most twice, which the log tells once", async () => {
    const cut = (request: ChatRequest): number => Math.min(countOf(request), WINDOW - 100);
    server.otherwise(remembers(cut));
    await using program = await openProgram({ summarize_message_threshold: 0 });
    for (let turn = 0; turn < 8; turn += 1) {
      await program.say(`${question(turn)} ${"It is what the log says of it. ".repeat(150)}`);
    }
    const warnings = program.lines.filter(({ message }) => message.includes("in silence"));
    assert.equal(warnings.length, 1);
    assert.match(warnings[0]?.message ?? "", /OLLAMA_CONTEXT_LENGTH/);
    const last = server.requests.findLast(({ body }) => body.tools !== undefined);
    assert.ok(last && countOf(last.body) <= WINDOW, `${last && countOf(last.body)}`);
  });
});

describe("a prompt and tools that are longer than the window", () => {
  it("are what the first answer's error names, and a way out", async () => {
    const message = "request (2672 tokens) exceeds the available context size (1024 tokens)";
    server.otherwise(refuses(400, { error: { code: 400, message } }));
    await using program = await openProgram();
    const text = await program.say("Hello");
    assert.equal(
      text,
      "the prompt and the tools are longer than the model's context window of 1024 tokens",
    );
    assert.equal(server.requests.length, 1);
  });

  it("are sent where only an estimate says so", async () => {
    server.otherwise(answers("It fits."));
    await using program = await openProgram({ context_window: 512 });
    assert.equal(await program.say("Hello"), "It fits.");
  });
});
