import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { describe, it } from "node:test";
import { openAgent } from "../../../src/agent/agent.ts";
import { MARK, REFUSED_MARK } from "../../../src/agent/fallback/offline-fallback.ts";
import { agentConfig, collect, modelEntry, modelFailureOf } from "../../support/agent-config.ts";
import { createDeviceTree } from "../../support/device-tree.ts";
import { createMemoryLog } from "../../support/memory-log.ts";
import {
  answers,
  calls,
  hangs,
  refuses,
  resets,
  startModelServer,
  streams,
  textEvent,
} from "../../support/model-server.ts";
import type { Behaviour } from "../../support/model-server.ts";
import { until } from "../../support/until.ts";

/** Asks an agent whose model behaves so. */
async function ask(text: string, ...behaviours: readonly Behaviour[]) {
  await using server = await startModelServer();
  server.script(...behaviours);
  const tree = await createDeviceTree({ "proc/uptime": "7200.0 1.0\n" });
  const log = createMemoryLog();
  const config = agentConfig([modelEntry({ api_base: server.base })], { max_llm_retries: 0 });
  const { answer: agent } = await openAgent({ config, log, root: tree.device.root });
  const signal = new AbortController().signal;
  try {
    const { text: answer, result } = await collect(
      agent({ text, history: async () => [], client: "c", signal }),
    );
    return { answer, result, lines: log.lines };
  } finally {
    await tree.remove();
  }
}

describe("while the model cannot be reached", () => {
  it("a question about the device is answered from the device, marked as such", async () => {
    const { answer, result, lines } = await ask("What is the uptime?", refuses(503));
    assert.ok(answer.startsWith(MARK), answer);
    assert.match(answer, /Uptime is 2 hours/);
    assert.deepEqual(result.messages, [
      { role: "user", text: "What is the uptime?" },
      { role: "assistant", text: answer },
    ]);
    assert.ok(lines.some(({ message }) => message.includes("offline agent answers")));
  });

  it("an answer says it when the provider was reached and refused", async () => {
    for (const status of [400, 401, 402, 404]) {
      const { answer } = await ask("What is the uptime?", refuses(status));
      assert.ok(answer.startsWith(REFUSED_MARK), answer);
    }
  });

  it("of a question of which a part is about the device, the rest is left open", async () => {
    const { answer } = await ask("What is the uptime, and who was Ada Lovelace?", resets());
    assert.match(answer, /Uptime is 2 hours/);
    assert.match(answer, /rest has to wait/);
    assert.doesNotMatch(answer, /no model is configured/);
  });

  it("any other question ends in the model's failure", async () => {
    const { message } = await modelFailureOf(ask("Who was Ada Lovelace?", refuses(503)));
    assert.match(message, /overloaded/);
  });

  it("what tools had measured before is no reason not to answer", async () => {
    const { answer } = await ask(
      "What is the uptime?",
      calls({ name: "device", arguments: '{"facts":["uptime"]}' }),
      refuses(503),
    );
    assert.ok(answer.startsWith(MARK), answer);
  });

  it("what tools had changed before is not covered up by another answer", async () => {
    const look = calls({ name: "list_dir", arguments: "{}" });
    await modelFailureOf(ask("What is the uptime?", look, refuses(503)));
  });

  it("an answer that had begun is not begun anew", async () => {
    await modelFailureOf(ask("What is the uptime?", resets(textEvent("It is"))));
  });
});

describe("while the model can be reached", () => {
  it("what it said is told as it is, not that nobody could be reached", async () => {
    const tooLong = refuses(400, { error: { code: "context_length_exceeded" } });
    const failures: [RegExp, Behaviour[]][] = [
      [/longer than the model's context window/, [tooLong]],
      [/answer is empty/, [answers(""), answers("")]],
      [/withheld the answer/, [streams({ finish: "content_filter" })]],
    ];
    for (const [shown, behaviours] of failures) {
      const { message } = await modelFailureOf(ask("What is the uptime?", ...behaviours));
      assert.match(message, shown);
    }
  });

  it("its request ends as soon as nobody listens any more", async () => {
    await using server = await startModelServer();
    server.script(hangs(textEvent("It is")));
    const config = agentConfig([modelEntry({ api_base: server.base, request_timeout: 60 })]);
    const { answer: agent } = await openAgent({ config, log: createMemoryLog() });
    const signal = new AbortController().signal;
    const turn = agent({
      text: "What is the uptime?",
      history: async () => [],
      client: "c",
      signal,
    });
    await turn.next();
    const { gone } = await server.received(0);
    await turn.return({ messages: [] });
    await until("the request is given up", () => gone.aborted);
    assert.equal(getEventListeners(signal, "abort").length, 0);
  });

  it("it alone answers", async () => {
    const { answer } = await ask("What is the uptime?", answers("Long."));
    assert.equal(answer, "Long.");
  });
});
