import assert from "node:assert/strict";
import process from "node:process";
import { afterEach, describe, test } from "node:test";
import { FULL_ACCESS } from "../../../src/agent/access/permissions.ts";
import type { ToolHooks } from "../../../src/agent/hooks/contract.ts";
import { createToolHooks } from "../../../src/agent/hooks/hooks.ts";
import type { Tool } from "../../../src/agent/tools/contract.ts";
import { runTool } from "../../../src/agent/tools/run.ts";
import { Failure } from "../../../src/base/failure.ts";
import { signalProcess } from "../../../src/base/host.ts";
import type { HookStage, ProcessHookSettings } from "../../../src/config/contract.ts";
import { callContext } from "../../support/agent-config.ts";
import { hookProgram } from "../../support/hook-program.ts";
import type { Behaviours } from "../../support/hook-program.ts";
import { createMemoryLog } from "../../support/memory-log.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { until } from "../../support/until.ts";

const ended: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const end of ended.splice(0).toReversed()) await end();
});

interface Limits {
  readonly interceptor?: number;
  readonly approval?: number;
}

const filter = (text: string) => text.replaceAll("sk-secret", "[FILTERED]");

function opened(processes: readonly ProcessHookSettings[], limits: Limits = {}) {
  const log = createMemoryLog();
  const { interceptor = 10_000, approval = 10_000 } = limits;
  const settings = {
    interceptor_timeout_ms: interceptor,
    approval_timeout_ms: approval,
    processes,
  };
  const hooks = createToolHooks({ settings, workspace: "/nowhere/workspace", filter, log });
  ended.push(() => hooks.close());
  return { hooks, log };
}

async function gate(behaviours: Behaviours, stages: readonly HookStage[], limits?: Limits) {
  const folder = await temporaryFolder();
  ended.push(async () => await folder[Symbol.asyncDispose]());
  const program = await hookProgram(folder.path, behaviours);
  return { program, folder: folder.path, ...opened([program.settings(stages)], limits) };
}

/** Two tools that note what they are run with. */
function noting() {
  const runs: { readonly tool: string; readonly input: unknown }[] = [];
  const tool = (name: string): Tool => ({
    name,
    description: name,
    parameters: { type: "object" },
    async run(input) {
      runs.push({ tool: name, input });
      return `${name} has run`;
    },
  });
  return { runs, tools: [tool("write_file"), tool("read_file")] };
}

const WRITE = { id: "c1", name: "write_file", arguments: '{"path":"a.txt","content":"x"}' };

async function run(hooks: ToolHooks, call = WRITE) {
  const { runs, tools } = noting();
  const text = await runTool(call, { ...callContext(), tools, hooks });
  return { text, runs };
}

describe("a hook for before_tool", () => {
  test("gets the call in Go PicoClaw's words, after a greeting", async () => {
    const { hooks, program } = await gate({ before_tool: { action: "continue" } }, ["before_tool"]);
    const { tools } = noting();
    const facts = { ...callContext(), client: "kitchen", channel: "mqtt", isRemote: true };
    assert.equal(await runTool(WRITE, { ...facts, tools, hooks }), "write_file has run");
    const [, hello, before, after] = await program.heard();
    assert.deepEqual(hello, {
      id: 1,
      method: "hook.hello",
      params: { name: "gate", version: 1, modes: ["tool"] },
    });
    assert.equal(before?.method, "hook.before_tool");
    assert.deepEqual(before.params, {
      meta: {
        AgentID: "main",
        SessionKey: "4:mqttkitchen",
        TracePath: "turn.tool.before",
        Source: "runTurn",
      },
      context: {
        inbound: {
          channel: "mqtt",
          chat_id: "mqtt:kitchen",
          chat_type: "direct",
          sender_id: "kitchen",
        },
      },
      channel: "mqtt",
      chat_id: "mqtt:kitchen",
      tool: "write_file",
      arguments: { path: "a.txt", content: "x" },
    });
    assert.equal(after?.method, "hook.after_tool");
    assert.deepEqual(after.params.result, {
      for_llm: "write_file has run",
      silent: false,
      is_error: false,
      async: false,
    });
  });

  test("denies: the tool does not run, and the model gets the reason", async () => {
    const denies = { action: "deny_tool", reason: "not on Sundays" };
    const { hooks, log } = await gate({ before_tool: denies }, ["before_tool"]);
    const { text, runs } = await run(hooks);
    assert.equal(text, "error: tool execution denied by hook: not on Sundays");
    assert.deepEqual(runs, []);
    const line = log.lines.find(({ message }) => message === "a hook denies a tool call");
    assert.deepEqual(line?.fields, { hook: "gate", stage: "before_tool", tool: "write_file" });
  });

  test("changes the arguments, and the tool", async () => {
    const call = { tool: "read_file", arguments: { path: "b.txt" } };
    const { hooks } = await gate({ before_tool: { action: "modify", call } }, ["before_tool"]);
    const { text, runs } = await run(hooks);
    assert.equal(text, "read_file has run");
    assert.deepEqual(runs, [{ tool: "read_file", input: { path: "b.txt" } }]);
  });

  test("cannot put a tool in its place that the client may not use", async () => {
    const call = { tool: "read_file", arguments: {} };
    const { hooks } = await gate({ before_tool: { action: "modify", call } }, ["before_tool"]);
    const { runs, tools } = noting();
    const permissions = { ...FULL_ACCESS, allows: (tool: string) => tool === "write_file" };
    const text = await runTool(WRITE, { ...callContext(), permissions, tools, hooks });
    assert.equal(text, "error: this client may not use read_file");
    assert.deepEqual(runs, []);
  });

  test("gives a result of its own, without secrets", async () => {
    const responds = { action: "respond", result: { for_llm: "key sk-secret", is_error: true } };
    const { hooks } = await gate({ before_tool: responds }, ["before_tool"]);
    const { text, runs } = await run(hooks);
    assert.equal(text, "error: key [FILTERED]");
    assert.deepEqual(runs, []);
  });

  test("ends the turn", async () => {
    const { hooks } = await gate({ before_tool: { action: "abort_turn" } }, ["before_tool"]);
    await assert.rejects(run(hooks), (thrown) => {
      return thrown instanceof Failure && thrown.code === "forbidden";
    });
  });

  test("sees the arguments as the tool reads them", async () => {
    const { hooks, program } = await gate({ before_tool: { action: "continue" } }, ["before_tool"]);
    const { tools, runs } = noting();
    const [tool] = tools;
    assert.ok(tool);
    const mending = { ...tool, coerce: () => ({ path: "mended" }) };
    await runTool(WRITE, { ...callContext(), tools: [mending], hooks });
    assert.deepEqual((await program.heard())[2]?.params.arguments, { path: "mended" });
    assert.deepEqual(runs[0]?.input, { path: "mended" });
  });

  test("is not asked about arguments that are no object: nothing runs with them", async () => {
    const { hooks } = await gate({ before_tool: { action: "continue" } }, ["before_tool"]);
    const { text, runs } = await run(hooks, { ...WRITE, arguments: '"a.txt"' });
    assert.equal(text, "error: wrong arguments: they are not an object");
    assert.deepEqual(runs, []);
  });
});

describe("a hook for approve_tool", () => {
  test("approves", async () => {
    const { hooks, program } = await gate({ approve_tool: { approved: true } }, ["approve_tool"]);
    assert.equal((await run(hooks)).text, "write_file has run");
    const methods = (await program.heard()).map(({ method }) => method);
    assert.deepEqual(methods, [undefined, "hook.hello", "hook.approve_tool"]);
  });

  for (const answer of [{ approved: false, reason: "ask first" }, { reason: "ask first" }]) {
    test(`denies with ${JSON.stringify(answer)}`, async () => {
      const { hooks } = await gate({ approve_tool: answer }, ["approve_tool"]);
      const { text, runs } = await run(hooks);
      assert.equal(text, "error: tool execution denied by approval hook: ask first");
      assert.deepEqual(runs, []);
    });
  }

  test("is asked about the call as the hooks before it have made it", async () => {
    const folder = await temporaryFolder();
    ended.push(async () => await folder[Symbol.asyncDispose]());
    const call = { tool: "read_file", arguments: { path: "b.txt" } };
    const changes = await hookProgram(folder.path, { before_tool: { action: "modify", call } });
    const approves = await hookProgram(folder.path, { approve_tool: { approved: true } });
    const { hooks } = opened([
      approves.settings(["approve_tool"], { name: "first" }),
      changes.settings(["before_tool"], { name: "second" }),
    ]);
    assert.equal((await run(hooks)).text, "read_file has run");
    const { tool, arguments: words } = (await approves.heard())[2]?.params ?? {};
    assert.deepEqual({ tool, arguments: words }, call);
  });
});

describe("a hook for after_tool", () => {
  test("changes the result", async () => {
    const result = { result: { for_llm: "nothing to see" } };
    const { hooks } = await gate(
      { before_tool: { action: "continue" }, after_tool: { action: "modify", result } },
      ["after_tool"],
    );
    assert.equal((await run(hooks)).text, "nothing to see");
  });

  test("that fails withholds the result", async () => {
    const { hooks } = await gate({ before_tool: {}, after_tool: "nonsense" }, ["after_tool"]);
    const { text, runs } = await run(hooks);
    assert.equal(text, 'error: the tool has run, but its result is withheld: hook "gate" failed');
    assert.equal(runs.length, 1);
  });

  test("need not be supported by a hook for before_tool, which is asked all the same", async () => {
    const { hooks, program } = await gate({ before_tool: {}, after_tool: "error" }, [
      "before_tool",
    ]);
    assert.equal((await run(hooks)).text, "write_file has run");
    assert.equal((await program.heard()).at(-1)?.method, "hook.after_tool");
  });
});

describe("a hook that fails denies", () => {
  const slow = { interceptor: 400, approval: 400 };
  const failing: readonly [why: string, behaviours: Behaviours, limits?: Limits][] = [
    ["does not answer in time", { before_tool: "hang", approve_tool: "hang" }, slow],
    ["writes lines that are no answer", { before_tool: "chatter", approve_tool: "chatter" }, slow],
    ["dies", { before_tool: "die", approve_tool: "die" }],
    ["answers with an error", { before_tool: "error", approve_tool: "error" }],
    ["answers with nonsense", { before_tool: "nonsense", approve_tool: "nonsense" }],
    ["has a line that never ends", { before_tool: "flood", approve_tool: "flood" }],
    ["has another action", { before_tool: { action: "allow" }, approve_tool: { approved: "yes" } }],
    ["dies at the greeting", { hello: "die" }],
    ["refuses the greeting", { hello: "error" }],
    ["puts nothing in its place", { before_tool: { action: "respond" }, approve_tool: "nonsense" }],
    ["names no tool", { before_tool: { call: {} }, approve_tool: "nonsense" }],
  ];
  for (const [why, behaviours, limits] of failing) {
    for (const stage of ["before_tool", "approve_tool"] as const) {
      test(`${stage}: it ${why}`, async () => {
        const { hooks, log } = await gate(behaviours, [stage], limits);
        const { text, runs } = await run(hooks);
        assert.match(text, /^error: tool execution denied by (?:approval )?hook: "gate" failed$/);
        assert.deepEqual(runs, []);
        const shown = log.lines.find(({ message }) => message.startsWith("a hook failed"));
        assert.equal(shown?.fields["hook"], "gate");
        assert.equal(shown.fields["stage"], stage);
      });
    }
  }

  test("it cannot be started", async () => {
    const stages = new Set<HookStage>(["before_tool"]);
    const command = ["/nowhere/no-such-program", "x"];
    const { hooks, log } = opened([{ name: "gone", priority: 0, command, stages, env: {} }]);
    const { text, runs } = await run(hooks);
    assert.equal(text, 'error: tool execution denied by hook: "gone" failed');
    assert.deepEqual(runs, []);
    assert.match(String(log.lines.find(({ level }) => level === "warn")?.fields["why"]), /ENOENT/);
  });

  test("it cannot even be begun, which some runtimes say at once: each time anew", async () => {
    const stages = new Set<HookStage>(["before_tool"]);
    const env = { LONG: "x".repeat(3_000_000) };
    const settings = { name: "gone", priority: 0, command: ["/bin/cat"], stages, env };
    const { hooks, log } = opened([settings]);
    const rests = () => log.lines.flatMap(({ fields }) => fields["rest_ms"] ?? []);
    await until("it was tried twice", async () => {
      const { text, runs } = await run(hooks);
      assert.equal(text, 'error: tool execution denied by hook: "gone" failed');
      assert.deepEqual(runs, []);
      return rests().length === 2;
    });
    assert.deepEqual(rests(), [250, 500]);
  });

  test("of two, the one that allows does not help", async () => {
    const folder = await temporaryFolder();
    ended.push(async () => await folder[Symbol.asyncDispose]());
    const allows = await hookProgram(folder.path, { approve_tool: { approved: true } });
    const dies = await hookProgram(folder.path, { approve_tool: "die" });
    const { hooks } = opened([
      allows.settings(["approve_tool"], { name: "a" }),
      dies.settings(["approve_tool"], { name: "b" }),
    ]);
    const { text, runs } = await run(hooks);
    assert.equal(text, 'error: tool execution denied by approval hook: "b" failed');
    assert.deepEqual(runs, []);
  });
});

describe("the process of a hook", () => {
  test("stays for the next call, and is gone after the end", async () => {
    const { hooks, program } = await gate({ approve_tool: { approved: true } }, ["approve_tool"]);
    await run(hooks);
    await Promise.all([run(hooks), run(hooks)]);
    const heard = await program.heard();
    const pids = heard.flatMap(({ pid }) => pid ?? []);
    assert.equal(pids.length, 1);
    assert.equal(heard.filter(({ method }) => method === "hook.approve_tool").length, 3);
    const [pid = 0] = pids;
    assert.ok(signalProcess(pid, 0));
    await hooks.close();
    await until("the process is gone", () => !signalProcess(pid, 0));
    assert.match((await run(hooks)).text, /^error: tool execution denied by approval hook/);
    assert.equal((await program.heard()).length, heard.length);
  });

  test("is started again after it died, but not at once", async () => {
    const { hooks, program, log } = await gate({ approve_tool: "die" }, ["approve_tool"]);
    await run(hooks);
    await until("its end was heard", () => log.lines.some(({ fields }) => "rest_ms" in fields));
    const { text } = await run(hooks);
    assert.match(text, /denied by approval hook/);
    const started = async () => (await program.heard()).filter(({ pid }) => pid).length;
    assert.equal(await started(), 1, "it rests");
    await until("it is started again", async () => {
      await run(hooks);
      return (await started()) === 2;
    });
    const rests = log.lines.flatMap(({ fields }) => fields["rest_ms"] ?? []);
    assert.equal(rests[0], 250);
    assert.match(
      String(log.lines.find(({ fields }) => "rest_ms" in fields)?.fields["why"]),
      /last output: out of order/,
    );
  });

  test("is ended when it is silent three times in a row", async () => {
    const { hooks, program } = await gate({ approve_tool: "hang" }, ["approve_tool"], {
      approval: 400,
    });
    for (let times = 0; times < 3; times += 1) await run(hooks);
    const [{ pid = 0 } = {}] = await program.heard();
    await until("the process is gone", () => !signalProcess(pid, 0));
  });

  test("may be silent about a stage that its settings do not name", async () => {
    const behaviours = { before_tool: {}, after_tool: "hang" };
    const { hooks, program } = await gate(behaviours, ["before_tool"], { interceptor: 2_000 });
    const results = await Promise.all([1, 2, 3, 4].map(() => run(hooks)));
    assert.deepEqual(new Set(results.map(({ text }) => text)), new Set(["write_file has run"]));
    assert.equal((await run(hooks)).text, "write_file has run");
    assert.equal((await program.heard()).filter(({ pid }) => pid).length, 1);
  });

  test("knows none of this program's variables, and nothing of a call but what it is sent", async () => {
    process.env["BUN_OPTIONS"] = "";
    process.env["PICOCLAW_KEY_PASSPHRASE"] = "open sesame";
    ended.push(async () => {
      delete process.env["BUN_OPTIONS"];
      delete process.env["PICOCLAW_KEY_PASSPHRASE"];
    });
    const { hooks, program } = await gate({ approve_tool: { approved: true } }, ["approve_tool"]);
    await run(hooks);
    const [{ env = {}, argv = [] } = {}] = await program.heard();
    assert.equal(env["BUN_OPTIONS"], undefined);
    assert.equal(env["BUN_BE_BUN"], undefined);
    assert.equal(env["PICOCLAW_KEY_PASSPHRASE"], undefined);
    assert.equal(env["HOOK_NOTES"], program.env["HOOK_NOTES"]);
    assert.ok(!argv.join(" ").includes("a.txt"));
  });

  test("hears a stopped turn no longer", async () => {
    const { hooks, program } = await gate({ approve_tool: "hang" }, ["approve_tool"]);
    const { runs, tools } = noting();
    const stop = new AbortController();
    const running = runTool(WRITE, { ...callContext(stop.signal), tools, hooks });
    const stopped = assert.rejects(running, { code: "cancelled" });
    await until("it was asked", async () => (await program.heard()).length === 3);
    stop.abort(new Failure("cancelled", "stopped"));
    await stopped;
    assert.deepEqual(runs, []);
  });
});
