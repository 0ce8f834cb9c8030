import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { ExecSettings } from "../../../config/contract.ts";
import type { CallContext } from "../contract.ts";
import { ToolError } from "../contract.ts";
import { locate, realPermissions, realWorkspace } from "../files/locate.ts";
import { findShell, limitArgs, terminalArgs } from "./environment.ts";
import type { ExecInput } from "./input.ts";
import { checkCommand } from "./policy/policy.ts";
import type { PolicyOptions } from "./policy/policy.ts";
import { commandPaths } from "./sandbox/mounts.ts";
import { sandboxFor } from "./sandbox/sandbox.ts";
import type { SessionStart } from "./sessions.ts";

/** The rules under which commands run. */
export interface ExecRules {
  readonly workspace: string;
  readonly settings: ExecSettings;
  readonly restrict: boolean;
  readonly env: Readonly<Record<string, string>>;
  /** The configuration's file. No command may see it. */
  readonly configFile?: string;
  /** Other files and folders with keys. */
  readonly secretFiles: readonly string[];
}

/** Checks a command and returns all that it needs to start. Throws a `ToolError` if it must not run. */
export async function prepareCommand(
  input: ExecInput,
  rules: ExecRules,
  { permissions, isRemote }: Pick<CallContext, "permissions" | "isRemote">,
): Promise<SessionStart> {
  const command = input.command ?? "";
  if (command.trim() === "") throw new ToolError("there is no command to run");
  if (command.includes("\0")) throw new ToolError("the command holds a NUL character");
  const workspace = await realWorkspace(rules.workspace);
  const cwd = await resolveCwd(input.cwd || ".", { ...rules, workspace });
  const { files } = permissions;
  const realFiles = files && (await realPermissions(files, rules.workspace, workspace));
  const paths = commandPaths(realFiles, workspace);
  const path = rules.env["PATH"] ?? "";
  const sandbox = await sandboxFor({ ...rules, workspace, paths, path, isRemote });
  // Without a sandbox a command could also write to paths that are only readable.
  const otherPaths = [...paths.writable, ...(sandbox === undefined ? [] : paths.readable)];
  await assertAllowed(command, { ...rules, workspace, cwd, otherPaths });
  const shell = await findShell(rules.env);
  const limits = await limitArgs(cwd);
  const env = sandbox === undefined ? rules.env : { ...rules.env, TMPDIR: "/tmp" };
  const start = { command, cwd, env, limits, shell, ...(sandbox !== undefined && { sandbox }) };
  return input.pty === true ? await withTerminal(start) : start;
}

async function resolveCwd(path: string, { workspace, restrict }: ExecRules): Promise<string> {
  const none = { allowRead: [], allowWrite: [], keyFiles: [] };
  const bounds = { workspace, restrict, readOutside: false, ...none };
  const { folder, names, exists } = await locate(path, "read", bounds);
  const real = join(folder, ...names);
  if (!exists || !(await stat(real)).isDirectory()) {
    throw new ToolError("cwd is not an existing folder");
  }
  return real;
}

async function withTerminal(start: SessionStart): Promise<SessionStart> {
  const terminal = await terminalArgs(start.env);
  if (terminal === undefined) {
    throw new ToolError("there is no terminal: the program script is not installed here");
  }
  // `script` starts the program in SHELL, which would be the user's own shell.
  return { ...start, terminal, env: { ...start.env, SHELL: start.shell.program } };
}

/** Throws a `ToolError` if the policy blocks a text. */
export async function assertAllowed(text: string, options: PolicyOptions): Promise<void> {
  const blocked = await checkCommand(text, options);
  if (blocked !== undefined) throw new ToolError(blocked);
}
