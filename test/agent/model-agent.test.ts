import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { collect, modelEntry, modelFailureOf } from "../support/agent-config.ts";
import { openTestAgent } from "../support/model-agent.ts";
import { answers, calls, refuses, startModelServer } from "../support/model-server.ts";
import type { ModelServer } from "../support/model-server.ts";
import { until } from "../support/until.ts";

let server: ModelServer;
beforeEach(async () => {
  server = await startModelServer();
});
afterEach(() => server.close());

const signal = new AbortController().signal;
const lastAsked = (): string => JSON.stringify(server.requests.at(-1)?.body.messages);

describe("an agent with a model", () => {
  it("asks one of several models of a name in all rounds of a task, as of a conversation", async () => {
    const names = ["one", "two"];
    const twins = names.map((id) => modelEntry({ model: `openai/${id}`, api_base: server.base }));
    const { agent } = openTestAgent(twins);
    const look = calls({ name: "device", arguments: "{}" });
    const task = calls({ name: "subagent", arguments: '{"task":"look"}' });
    server.script(task, look, look, look, answers("61 °C"), answers("It is warm."));
    await collect(agent.answer({ text: "?", history: async () => [], client: "c", signal }));
    assert.deepEqual(
      server.requests.map(({ body }) => body.model),
      ["one", "two", "two", "two", "two", "one"],
    );
    await agent.close();
  });

  it("tells of a background task again after a turn that failed", async () => {
    const { agent } = openTestAgent([modelEntry({ api_base: server.base })]);
    const ask = (text: string) =>
      collect(agent.answer({ text, history: async () => [], client: "c", signal }));
    // The task and the conversation ask at the same time: each gets the same sentence.
    server.script(calls({ name: "spawn", arguments: '{"task":"count the pumps"}' }));
    server.otherwise(answers("seven pumps"));
    await ask("Count.");
    await until("the task has ended", () => {
      return agent.subagents.list("here:c").every(({ state }) => state === "done");
    });
    server.otherwise(refuses(400));
    await modelFailureOf(ask("And?"));
    assert.match(lastAsked(), /seven pumps/);
    server.otherwise(answers("Seven."));
    await ask("And?");
    assert.match(lastAsked(), /seven pumps/);
    await ask("Thanks.");
    assert.doesNotMatch(lastAsked(), /seven pumps/);
    await agent.close();
  });
});
