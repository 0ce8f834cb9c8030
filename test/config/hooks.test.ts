import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { unsupportedHooks } from "../../src/config/compat/go/unsupported.ts";
import { treeOfJson } from "../../src/config/json.ts";
import { allTextOf, failureFrom, inHome, loadedFrom, warningText } from "./home.ts";

const GATE = { enabled: true, command: ["python3", "gate.py"], intercept: ["approve_tool"] };

const withProcesses = (processes: object, more: object = {}) => ({
  version: 3,
  hooks: { enabled: true, processes, ...more },
});

describe("hooks", () => {
  it("are none where the file says nothing of them, or only how long they may take", async () => {
    assert.equal((await loadedFrom({ version: 3 })).config.hooks, undefined);
    const loaded = await loadedFrom({
      version: 3,
      hooks: { defaults: { approval_timeout_ms: 9 } },
    });
    assert.equal(loaded.config.hooks, undefined);
    assert.doesNotMatch(warningText(loaded), /hooks/);
  });

  it("are read as Go PicoClaw writes them", async () => {
    const processes = {
      gate: {
        enabled: true,
        priority: 100,
        transport: "stdio",
        command: ["python3", "/abs/gate.py"],
        dir: "/srv",
        env: { GATE_LOG: "/tmp/gate.log" },
        intercept: ["before_tool", "approve_tool"],
      },
    };
    const loaded = await loadedFrom(
      withProcesses(processes, {
        defaults: {
          observer_timeout_ms: 500,
          interceptor_timeout_ms: 7000,
          approval_timeout_ms: 9,
        },
      }),
    );
    assert.deepEqual(loaded.config.hooks, {
      interceptor_timeout_ms: 7000,
      approval_timeout_ms: 9,
      processes: [
        {
          name: "gate",
          priority: 100,
          command: ["python3", "/abs/gate.py"],
          stages: new Set(["before_tool", "approve_tool"]),
          env: { GATE_LOG: "/tmp/gate.log" },
          dir: "/srv",
        },
      ],
    });
    assert.doesNotMatch(warningText(loaded), /hooks/);
  });

  it("are asked by their priority, then by their name, for 5 s and 60 s", async () => {
    const { config } = await loadedFrom(
      withProcesses({
        b: GATE,
        c: { ...GATE, priority: -1 },
        a: GATE,
        off: { ...GATE, enabled: false },
      }),
    );
    assert.deepEqual(
      config.hooks?.processes.map(({ name }) => name),
      ["c", "a", "b"],
    );
    const { interceptor_timeout_ms, approval_timeout_ms } = config.hooks ?? {};
    assert.deepEqual([interceptor_timeout_ms, approval_timeout_ms], [5000, 60_000]);
  });

  it("that are off, all or one, are not even looked at", async () => {
    const wrong = { enabled: false, transport: "http", intercept: ["everything"] };
    const all = { version: 3, hooks: { enabled: false, processes: { gate: GATE } } };
    for (const file of [
      withProcesses({ wrong }),
      withProcesses({ wrong: { ...wrong, enabled: undefined } }),
      all,
    ]) {
      assert.equal((await loadedFrom(file)).config.hooks, undefined);
    }
  });

  it("have a folder relative to where the program runs", async () => {
    await inHome(
      { "config.json": withProcesses({ gate: { ...GATE, dir: "hooks" } }) },
      async (home) => {
        const { config } = await home.loaded({ cwd: "/srv/here" });
        assert.equal(config.hooks?.processes[0]?.dir, join("/srv/here", "hooks"));
      },
    );
  });

  it("that only observe have no effect here, with a warning", async () => {
    const loaded = await loadedFrom(
      withProcesses({ gate: GATE, eye: { enabled: true, command: ["eye"], observe: ["*"] } }),
    );
    assert.deepEqual(
      loaded.config.hooks?.processes.map(({ name }) => name),
      ["gate"],
    );
    assert.match(warningText(loaded), /hooks\.processes\.eye\.observe: has no effect here/);
  });

  it("are never given the variables that change what Bun does", async () => {
    const env = { BUN_OPTIONS: "--inspect", BUN_BE_BUN: "1", OWN: "x" };
    const loaded = await loadedFrom(withProcesses({ gate: { ...GATE, env } }));
    assert.deepEqual(loaded.config.hooks?.processes[0]?.env, { OWN: "x" });
    assert.match(warningText(loaded), /env\.BUN_OPTIONS: has no effect/);
    assert.match(warningText(loaded), /env\.BUN_BE_BUN: has no effect/);
  });

  it("with unknown keys are reported with the nearest", async () => {
    const loaded = await loadedFrom(
      withProcesses({ gate: { ...GATE, priorty: 1 } }, { defaults: { aproval_timeout_ms: 1 } }),
    );
    assert.match(warningText(loaded), /hooks\.processes\.gate\.priorty.*priority/);
    assert.match(warningText(loaded), /hooks\.defaults\.aproval_timeout_ms.*approval_timeout_ms/);
  });

  const wrong: readonly [what: string, hook: object, says: RegExp][] = [
    [
      "another transport",
      { transport: "http" },
      /gate\.transport: found "http", allowed is "stdio"/,
    ],
    ["no command", { command: [] }, /hooks\.processes\.gate: command is missing/],
    ["a stage that is none", { intercept: ["aprove_tool"] }, /gate\.intercept\[0\].*approve_tool/],
    ["nothing to be asked about", { intercept: [] }, /gate: intercept is missing/],
    ["a variable that is no text", { env: { A: 1 } }, /gate\.env: allowed are texts/],
    ["a NUL in a word", { command: ["a", "b\0"] }, /gate\.command\[1\]/],
  ];
  for (const [what, hook, says] of wrong) {
    it(`with ${what} are a problem`, async () => {
      const failure = await failureFrom(withProcesses({ gate: { ...GATE, ...hook } }));
      assert.equal(failure.code, "config");
      assert.match(allTextOf(failure), says);
    });
  }
});

async function found(hooks: object): Promise<string[]> {
  const parsed = await treeOfJson(JSON.stringify({ hooks }), "config.json");
  assert.ok(!(parsed instanceof Failure));
  return unsupportedHooks(parsed.tree).map((path) => path.join("."));
}

describe("hooks that restrict and are not asked", () => {
  it("are named: those about the model, and those compiled into Go PicoClaw", async () => {
    const hooks = {
      builtins: { audit: { enabled: true }, off: { enabled: false }, unsaid: {} },
      processes: {
        gate: { ...GATE, intercept: ["before_tool", "before_llm"] },
        after: { ...GATE, intercept: "after_llm" },
        fine: GATE,
        off: { ...GATE, enabled: false, intercept: ["before_llm"] },
      },
    };
    assert.deepEqual(await found(hooks), [
      "hooks.builtins.audit",
      "hooks.processes.gate.intercept",
      "hooks.processes.after.intercept",
    ]);
    assert.deepEqual(await found({ ...hooks, enabled: false }), []);
  });
});
