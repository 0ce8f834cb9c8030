import { readFile } from "node:fs/promises";
import { createExec } from "../../src/agent/tools/exec.ts";
import type { Exec, ExecOptions } from "../../src/agent/tools/exec.ts";
import { runTool } from "../../src/agent/tools/run.ts";
import { SILENT } from "../../src/base/log.ts";
import type { ExecSettings } from "../../src/config/contract.ts";
import { callContext, toolSettings } from "./agent-config.ts";
import { temporaryFolder } from "./temporary.ts";

export interface Commands extends AsyncDisposable, Exec {
  readonly workspace: string;
  /** What a model gets for a call; from `tester` if no other client is named. */
  readonly call: (input: Readonly<Record<string, unknown>>, client?: string) => Promise<string>;
}

/** The exec tool in a workspace of its own, without the deny patterns, so that tests can run any command. */
export async function createCommands(
  settings: Partial<ExecSettings> = {},
  options: Partial<ExecOptions> = {},
): Promise<Commands> {
  const folder = await temporaryFolder();
  const exec = createExec({
    workspace: folder.path,
    settings: { ...toolSettings().exec, enable_deny_patterns: false, sandbox: "none", ...settings },
    restrict: false,
    now: () => performance.now(),
    log: SILENT,
    ...options,
  });
  return {
    ...exec,
    workspace: folder.path,
    call: (input, client = "tester") => {
      const call = { id: "1", name: "exec", arguments: JSON.stringify(input) };
      return runTool(call, { tools: [exec.tool], ...callContext(), client, owner: client });
    },
    async [Symbol.asyncDispose]() {
      await exec.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Whether a process runs; the dead that nobody has buried do not. */
export async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return stat !== "" && !/^ [ZX]/.test(stat.slice(stat.lastIndexOf(")") + 1));
}
