import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as v from "valibot";
import { createPermissions } from "../../../../src/agent/access/permissions.ts";
import type { ToolHooks } from "../../../../src/agent/hooks/contract.ts";
import { RefusedCall } from "../../../../src/agent/tools/contract.ts";
import { defineTool } from "../../../../src/agent/tools/define.ts";
import { runScheduledCommand } from "../../../../src/agent/tools/exec/scheduled-command.ts";
import { toolProfile, toolSettings } from "../../../support/agent-config.ts";
import { createMemoryLog } from "../../../support/memory-log.ts";

function setUp({
  allow_command = true,
  hooks,
  confirm,
}: { allow_command?: boolean; hooks?: ToolHooks; confirm?: readonly string[] } = {}) {
  const ran: object[] = [];
  const exec = defineTool({
    name: "exec",
    description: "",
    input: v.object({ command: v.string(), timeout: v.optional(v.number()) }),
    async run(input) {
      if (input.command === "sudo") throw new RefusedCall("blocked");
      ran.push(input);
      return input.command === "true" ? "(no output)\n[exit code 0]" : "out\n[exit code 1]";
    },
  });
  const profiles = [
    toolProfile({
      pattern: "runner",
      tools: ["exec"],
      ...(confirm && { confirm: { by: ["phone"], tools: confirm, minutes: 10 } }),
    }),
  ];
  const tools = toolSettings({ profiles, cron: { allow_command, exec_timeout_minutes: 2 } });
  const permissionsOf = createPermissions({ tools, workspace: "/w" });
  const log = createMemoryLog();
  return {
    ran,
    log,
    run: (client: string, command: string, isConfirmed?: boolean) => {
      const caller = { client, channel: "mqtt", isRemote: true };
      const permissions = permissionsOf(caller);
      const { signal } = new AbortController();
      const offered = permissions.allows("exec") ? [exec] : [];
      const deps = { tools: offered, permissions, hooks, config: { tools }, log };
      return runScheduledCommand({ ...caller, command, isConfirmed, signal }, deps);
    },
  };
}

describe("a command of a job", () => {
  it("runs as the tool exec does, within its time, and is logged", async () => {
    const { run, ran, log } = setUp();
    assert.equal(await run("runner", "df"), "out\n[exit code 1]");
    assert.equal(await run("runner", "true"), undefined);
    assert.equal(await run("runner", "sudo"), "error: blocked");
    assert.deepEqual(ran, [
      { command: "df", timeout: 120 },
      { command: "true", timeout: 120 },
    ]);
    assert.deepEqual(
      log.lines.map(({ message, fields }) => [message, fields["client"], fields["verdict"]]),
      ["ok", "ok", "refused"].map((verdict) => ["tool call", "runner", verdict]),
    );
  });

  it("does not run for a client that may not run commands any more, or where commands are forbidden", async () => {
    const { run, ran } = setUp();
    await assert.rejects(run("kitchen", "df"), { code: "forbidden" });
    const without = setUp({ allow_command: false });
    await assert.rejects(without.run("runner", "df"), { code: "forbidden" });
    assert.deepEqual([...ran, ...without.ran], []);
  });

  it("does not run if a person has to allow it by now and has not", async () => {
    for (const confirm of [[], ["exec"], ["cron"], ["cron:exec"]]) {
      const { run, ran } = setUp({ confirm });
      await assert.rejects(run("runner", "df"), {
        code: "forbidden",
        message: /^phone must confirm this command: enable the job again/,
      });
      assert.equal(ran.length, 0);
      await run("runner", "df", true);
      assert.equal(ran.length, 1);
    }
    const { run, ran } = setUp({ confirm: ["set_device"] });
    await run("runner", "df");
    assert.equal(ran.length, 1);
  });

  it("asks the owner's hooks, as each call does", async () => {
    const hooks: ToolHooks = {
      before: async () => ({ answer: "error: not now", isDenied: true }),
      after: async (_, text) => text,
      close: async () => {},
    };
    const { run, ran } = setUp({ hooks });
    assert.equal(await run("runner", "df"), "error: not now");
    assert.deepEqual(ran, []);
  });
});
