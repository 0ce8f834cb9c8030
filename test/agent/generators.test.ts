import assert from "node:assert/strict";
import { it } from "node:test";
import { openAgent } from "../../src/agent/agent.ts";
import { SILENT } from "../../src/base/log.ts";
import { agentConfig, collect, modelEntry } from "../support/agent-config.ts";
import { startModelServer, streams, tokenTexts } from "../support/model-server.ts";

/** Runs work; returns how many steps async generators took meanwhile. */
async function stepsOf(work: () => Promise<unknown>): Promise<number> {
  const shared = Object.getPrototypeOf(async function* () {}.prototype);
  const { next } = shared;
  let steps = 0;
  shared.next = function counted(...values: unknown[]): unknown {
    steps += 1;
    return Reflect.apply(next, this, values);
  };
  try {
    await work();
  } finally {
    shared.next = next;
  }
  return steps;
}

it("a token crosses five generators: provider, router, turn, agent and redaction", async () => {
  await using server = await startModelServer();
  const config = agentConfig([modelEntry({ api_base: server.base })]);
  const agent = await openAgent({ config, log: SILENT });
  const ask = async (tokens: number): Promise<void> => {
    server.script(streams({ text: tokenTexts(tokens) }));
    const signal = new AbortController().signal;
    await collect(agent.answer({ text: "Hello", history: async () => [], client: "c", signal }));
  };
  await ask(5);
  const few = await stepsOf(() => ask(10));
  const many = await stepsOf(() => ask(110));
  await agent.close();
  assert.equal((many - few) / 100, 5);
});
