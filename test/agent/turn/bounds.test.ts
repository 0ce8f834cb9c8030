import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { afterEach, beforeEach, describe, it } from "node:test";
import { FULL_ACCESS } from "../../../src/agent/access/permissions.ts";
import type { Turn } from "../../../src/agent/contract.ts";
import type { Tool } from "../../../src/agent/tools/contract.ts";
import { createTurns } from "../../../src/agent/turn/turn.ts";
import type { TurnSetup, TurnOptions } from "../../../src/agent/turn/turn.ts";
import { Failure } from "../../../src/base/failure.ts";
import { SILENT } from "../../../src/base/log.ts";
import { collect, modelEntry } from "../../support/agent-config.ts";
import { openTestAgent } from "../../support/model-agent.ts";
import { answers, calls, startModelServer } from "../../support/model-server.ts";
import type { ModelServer } from "../../support/model-server.ts";
import { openModel } from "../../support/model.ts";

let server: ModelServer;
beforeEach(async () => {
  server = await startModelServer();
});
afterEach(() => server.close());

const never = () => new Promise<never>(() => {});
const book: Tool = {
  name: "book",
  description: "is long",
  parameters: { type: "object" },
  characters: 400_000,
  run: async () => "x".repeat(400_000),
};

function turnSetup(): TurnSetup {
  const model = openModel({ entry: { api_base: server.base } });
  return { model, tools: [book], permissions: FULL_ACCESS, system: "" };
}

function ask(prepareTurn: TurnOptions["prepareTurn"], turn: Pick<Turn, "signal" | "record">) {
  const turns = createTurns({ prepareTurn, max_tool_iterations: 5, log: SILENT });
  return collect(turns({ text: "?", history: async () => [], client: "c", ...turn }));
}

describe("a turn", () => {
  it("does not read more than it may hold, in however many rounds", async () => {
    const both = calls({ name: "book", arguments: "{}" }, { name: "book", arguments: "{}" });
    server.script(both, both, answers("enough"));
    const { signal } = new AbortController();
    const { result } = await ask(async () => turnSetup(), { signal });
    const results = result.messages.filter(({ role }) => role === "tool");
    assert.deepEqual(
      results.map(({ text }) => text.length > 1000),
      [true, true, false, false],
    );
    assert.match(results.at(-1)?.text ?? "", /^error: /);
  });

  it("ends with the reason of its signal where its disk does not answer", async () => {
    const reason = new Failure("cancelled", "stopped");
    server.otherwise(calls({ name: "book", arguments: "{}" }));
    for (const prepareTurn of [never, async () => turnSetup()]) {
      const controller = new AbortController();
      const { signal } = controller;
      const recording = Promise.withResolvers<void>();
      const record = (): Promise<never> => {
        recording.resolve();
        return never();
      };
      const turn = ask(prepareTurn, { signal, record });
      if (prepareTurn !== never) await recording.promise;
      controller.abort(reason);
      await assert.rejects(turn, (thrown) => thrown === reason);
      assert.equal(getEventListeners(signal, "abort").length, 0);
    }
  });
});

describe("a hundred turns with tools", () => {
  it("leave no listener, no connection and no request behind", async () => {
    const { agent } = openTestAgent([modelEntry({ api_base: server.base })]);
    const { signal } = new AbortController();
    const both = calls(
      { name: "device", arguments: "{}" },
      { name: "subagent", arguments: '{"task":"look"}' },
    );
    for (let count = 0; count < 100; count += 1) {
      server.script(both, answers("seen"), answers("done"));
      const turn = { text: "?", history: async () => [], client: `c${count % 7}`, signal };
      assert.equal((await collect(agent.answer(turn))).text, "done");
    }
    assert.equal(getEventListeners(signal, "abort").length, 0);
    assert.ok(server.requests.every(({ gone }) => gone.aborted));
    // All of one turn's questions one after the other, on connections that were there already.
    assert.ok(new Set(server.requests.map(({ port }) => port)).size < 10);
    await agent.close();
  });
});
