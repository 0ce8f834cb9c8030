import assert from "node:assert/strict";
import { it } from "node:test";
import { openAgent } from "../../src/agent/agent.ts";
import { SILENT } from "../../src/base/log.ts";
import { agentConfig, collect, modelEntry } from "../support/agent-config.ts";
import { startModelServer, streams, tokenTexts } from "../support/model-server.ts";

/** Runs work; returns the generator function of each step that async generators took meanwhile, by its prototype. */
async function stepsOf(work: () => Promise<unknown>): Promise<readonly object[]> {
  const shared = Object.getPrototypeOf(async function* () {}.prototype);
  const { next } = shared;
  const steps: object[] = [];
  shared.next = function counted(...values: unknown[]): unknown {
    steps.push(Object.getPrototypeOf(this));
    return Reflect.apply(next, this, values);
  };
  try {
    await work();
  } finally {
    shared.next = next;
  }
  return steps;
}

/** Asks an agent for an answer of so many tokens. */
async function stepsOfAnswers(...lengths: readonly number[]): Promise<(readonly object[])[]> {
  await using server = await startModelServer();
  const config = agentConfig([modelEntry({ api_base: server.base })]);
  const agent = await openAgent({ config, log: SILENT });
  const ask = async (tokens: number): Promise<void> => {
    server.script(streams({ text: tokenTexts(tokens) }));
    const signal = new AbortController().signal;
    await collect(agent.answer({ text: "Hello", history: async () => [], client: "c", signal }));
  };
  await ask(5);
  const steps = [];
  for (const tokens of lengths) steps.push(await stepsOf(() => ask(tokens)));
  await agent.close();
  return steps;
}

it("a token crosses five generators: provider, router, turn, agent and redaction", async () => {
  const [few = [], many = []] = await stepsOfAnswers(10, 110);
  assert.equal((many.length - few.length) / 100, 5);
});

it("all turns share their generator functions, so that their code is compiled once", async () => {
  const [first, second] = await stepsOfAnswers(10, 10);
  assert.equal(new Set(second).difference(new Set(first)).size, 0);
});
