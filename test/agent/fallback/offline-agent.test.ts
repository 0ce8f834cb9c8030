import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { hostname } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { promisify } from "node:util";
import { FULL_ACCESS } from "../../../src/agent/access/permissions.ts";
import { openAgent } from "../../../src/agent/agent.ts";
import { createOfflineAgent } from "../../../src/agent/fallback/offline-agent.ts";
import type { Tool } from "../../../src/agent/tools/contract.ts";
import { createDeviceTool } from "../../../src/agent/tools/device.ts";
import { pause } from "../../../src/base/async.ts";
import { Failure } from "../../../src/base/failure.ts";
import { SILENT } from "../../../src/base/log.ts";
import { agentConfig, collect, modelEntry } from "../../support/agent-config.ts";
import { leastTime } from "../../support/cpu-time.ts";

const NEVER = new AbortController().signal;

async function ask(text: string, signal = NEVER) {
  const { answer: agent } = await openAgent({ config: agentConfig([]), log: SILENT });
  return await collect(agent({ history: async () => [], text, client: "sensor-1", signal }));
}

describe("without a model", () => {
  it("the CPU usage of this machine is measured and told in a sentence", async () => {
    const { text, result } = await ask("What is the CPU usage?");
    assert.match(text, /^CPU usage is \d+\.\d % \(\d+ cores?(, load \d+\.\d\d)?\)\.$/);
    assert.deepEqual(result, {
      messages: [
        { role: "user", text: "What is the CPU usage?" },
        { role: "assistant", text },
      ],
    });
  });

  it("a device is told what it can ask, and gets no lines of a configuration", async () => {
    const { answer } = await openAgent({ config: agentConfig([]), log: SILENT });
    const turn = { history: async () => [], text: "tell me a joke", client: "a", signal: NEVER };
    const { text } = await collect(answer({ ...turn, channel: "mqtt", isRemote: true }));
    assert.match(text, /^I am the offline agent of /);
    assert.doesNotMatch(text, /[{}]/);
    assert.match((await collect(answer(turn))).text, /\{"model_list"/);
  });

  it("an answer with a format is an error, and a command is none", async () => {
    const { answer } = await openAgent({ config: agentConfig([]), log: SILENT });
    const ends = [
      ["What is the CPU usage?", "model", /no model is configured/],
      ["/help", "bad_request", /"format"/],
    ] as const;
    for (const [text, code, words] of ends) {
      const format = { type: "json_schema", schema: {} } as const;
      const turn = { history: async () => [], text, client: "a", signal: NEVER, format };
      await assert.rejects(
        collect(answer(turn)),
        (thrown) => thrown instanceof Failure && thrown.code === code && words.test(thrown.message),
      );
    }
  });

  it("several facts are several sentences, in the order of the question", async () => {
    const { pieces } = await ask(
      "how much memory is free, what time is it and what is the uptime?",
    );
    assert.equal(pieces.length, 3);
    assert.match(pieces[0] ?? "", /^Memory usage is \d+\.\d %/);
    assert.match(
      pieces[1] ?? "",
      /^\nThe time is \d\d:\d\d:\d\d on \w+, \d{4}-\d\d-\d\d \(.*\)\.$/,
    );
    assert.match(pieces[2] ?? "", /^\nUptime is .*, since .*\.$/);
  });

  it("every fact can be told on this machine, in less than two samples", async () => {
    const took = await leastTime(async () => {
      const { pieces } = await ask("give me everything");
      assert.equal(pieces.length, 13);
      for (const piece of pieces) assert.match(piece, /^\n?\S.*\.$/);
    });
    assert.ok(took < 1500, `${took} ms`);
  });

  it("what needs no sample does not wait for one", async () => {
    const took = await leastTime(() => ask("what is the uptime"));
    assert.ok(took < 200, `${took} ms`);
  });

  for (const question of ["hi", "help", "Who are you?", "What is the capital of France?"]) {
    it(`it says what it is: ${question}`, async () => {
      const { text } = await ask(question);
      const start = `I am the offline agent of picoclaw on ${hostname()}. No model is configured`;
      assert.ok(text.startsWith(start), text);
      assert.match(text, /model_list.*agents.*defaults.*model_name/);
      assert.match(text, /CPU usage, memory/);
    });
  }

  it("it says which part it cannot answer", async () => {
    const { text } = await ask("What is the uptime, and who was Napoleon?");
    assert.match(text, /^Uptime is .*\nThe rest I cannot answer: .*no model is configured\.$/s);
  });

  it("it asks the same tool as a model would, each fact at once", async () => {
    const asked: unknown[] = [];
    const tool: Tool = {
      ...createDeviceTool({ root: "/", workspace: "/", now: () => new Date(), pause }),
      run: async (input) => {
        asked.push(input);
        return "A fact.";
      },
    };
    const agent = createOfflineAgent({ deviceTool: tool, permissionsOf: () => FULL_ACCESS });
    const { text } = await collect(
      agent({ history: async () => [], text: "cpu and disk", client: "c", signal: NEVER }),
    );
    assert.deepEqual(asked, [{ facts: ["cpu"] }, { facts: ["disk"] }]);
    assert.equal(text, "A fact.\nA fact.");
  });

  it("a reading that fails while another is told does not end the process", async () => {
    const unanswered: unknown[] = [];
    const listen = (reason: unknown): void => void unanswered.push(reason);
    process.on("unhandledRejection", listen);
    const failing: Tool = {
      ...createDeviceTool({ root: "/", workspace: "/", now: () => new Date(), pause }),
      run: () => Promise.reject(new Error("no")),
    };
    const turn = createOfflineAgent({ deviceTool: failing, permissionsOf: () => FULL_ACCESS })({
      history: async () => [],
      text: "cpu and disk and memory",
      client: "c",
      signal: NEVER,
    });
    await assert.rejects(collect(turn), /no/);
    await pause(20, NEVER);
    process.off("unhandledRejection", listen);
    assert.deepEqual(unanswered, []);
  });

  it("it ends with the reason of its signal", async () => {
    const reason = new Failure("cancelled", "stopped");
    const controller = new AbortController();
    const turn = ask("cpu and top processes and memory", controller.signal);
    setTimeout(() => controller.abort(reason), 20);
    await assert.rejects(turn, (thrown) => thrown === reason);
    await assert.rejects(ask("hi", AbortSignal.abort(reason)), (thrown) => thrown === reason);
  });

  it("entries that cannot be used are as good as none", async () => {
    const config = agentConfig([modelEntry({ api_keys: [] }), modelEntry({ enabled: false })]);
    const { answer: agent } = await openAgent({ config, log: SILENT });
    const { text } = await collect(
      agent({ history: async () => [], text: "hi", client: "c", signal: NEVER }),
    );
    assert.match(text, /offline agent/);
  });
});

describe("loading", () => {
  const agent = join(import.meta.dirname, "../../../src/agent/agent.ts");
  const support = join(import.meta.dirname, "../../support/agent-config.ts");

  /** The files of ours and of packages that a fresh process has loaded for such an agent, before a turn. */
  async function loadedFor(entries: string, isReady = true): Promise<string> {
    const script = `
      import { openAgent } from ${JSON.stringify(agent)};
      import { agentConfig, modelEntry } from ${JSON.stringify(support)};
      const log = { debug() {}, info() {}, warn() {}, error() {} };
      const agent = await openAgent({ config: agentConfig(${entries}), log });
      if (${isReady}) await agent.load();
      console.log(Object.keys(require.cache).join("\\n"));`;
    const args = ["--eval", script];
    const { stdout } = await promisify(execFile)(process.execPath, args, { encoding: "utf8" });
    return stdout;
  }
  const isBun = process.versions["bun"] !== undefined;

  it(
    "the offline agent loads no model's code, and the other way round",
    { skip: !isBun },
    async () => {
      const offline = await loadedFor("[]");
      assert.match(offline, /agent\/fallback\/offline-agent/);
      assert.doesNotMatch(offline, /agent\/model\/|agent\/turn|eventsource-parser/);
      const online = await loadedFor("[modelEntry()]");
      assert.match(online, /agent\/model\/protocols\/openai/);
      assert.doesNotMatch(online, /agent\/fallback\/offline-agent|htmlparser2/);
      assert.match(online, /agent\/turn/);
      assert.doesNotMatch(
        await loadedFor("[modelEntry()]", false),
        /agent\/turn|agent\/tools\/exec/,
      );
    },
  );
});
