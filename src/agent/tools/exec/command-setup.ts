import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { ExecSettings } from "../../../config/contract.ts";
import type { Permissions } from "../../access/permissions.ts";
import type { CallContext } from "../contract.ts";
import { FileError } from "../files/errors.ts";
import { locate, realPermissions, realWorkspace } from "../files/locate.ts";
import type { Sandbox } from "./command.ts";
import type { ExecInput } from "./input.ts";
import { checkCommand } from "./policy/policy.ts";
import type { PolicyOptions } from "./policy/policy.ts";
import { commandPaths } from "./sandbox/mounts.ts";
import { sandboxFor } from "./sandbox/sandbox.ts";
import type { SessionStart } from "./sessions.ts";
import { limitArgs, shellOf, terminalArgs } from "./shell.ts";

/** Under which rules commands run. */
export interface ExecRules {
  readonly workspace: string;
  readonly settings: ExecSettings;
  readonly restrict: boolean;
  readonly env: Readonly<Record<string, string>>;
  /** The configuration's file, which no command may see. */
  readonly configFile?: string;
  /** Other files and folders with keys. */
  readonly secretFiles: readonly string[];
}

/** All that a command needs to start. Throws a `FileError` in words for the model where it must not. */
export async function prepareCommand(
  input: ExecInput,
  rules: ExecRules,
  { permissions, isRemote }: Pick<CallContext, "permissions" | "isRemote">,
): Promise<SessionStart> {
  const command = input.command ?? "";
  if (command.trim() === "") throw new FileError("there is no command to run");
  if (command.includes("\0")) throw new FileError("the command holds a NUL character");
  const workspace = await realWorkspace(rules.workspace);
  const cwd = await resolveCwd(input.cwd || ".", { ...rules, workspace });
  const extent = commandPaths(await realOf(permissions, rules.workspace, workspace), workspace);
  const sandbox = await sandboxFor({ ...rules, workspace, extent, path: rules.env["PATH"] ?? "" });
  assertSandboxed(sandbox, isRemote, rules);
  // Without a sandbox what may be read could be written, too.
  const beside = [...extent.writable, ...(sandbox === undefined ? [] : extent.readable)];
  const shell = await shellOf(rules.env);
  await assertAllowed(command, { ...rules, workspace, cwd, beside });
  const limits = await limitArgs(cwd);
  const env = sandbox === undefined ? rules.env : { ...rules.env, TMPDIR: "/tmp" };
  const start = { command, cwd, env, limits, shell, ...(sandbox !== undefined && { sandbox }) };
  if (input.pty !== true) return start;
  const terminal = await terminalArgs(rules.env);
  if (terminal === undefined) {
    throw new FileError("there is no terminal: the program script is not installed here");
  }
  // `script` would take the user's own shell.
  return { ...start, terminal, env: { ...env, SHELL: shell.program } };
}

/** Who asks from elsewhere has the sandbox, unless the owner wrote that there is to be none. */
function assertSandboxed(
  sandbox: Sandbox | undefined,
  isRemote: boolean,
  { settings }: ExecRules,
): void {
  if (sandbox !== undefined || !isRemote || settings.sandbox === "none") return;
  throw new FileError(
    "no command is run: those of clients run in a sandbox alone, and bubblewrap does not work here; the owner can install it",
  );
}

/** Throws a `FileError` where the guard blocks a text for a shell. */
export async function assertAllowed(text: string, options: PolicyOptions): Promise<void> {
  const blocked = await checkCommand(text, options);
  if (blocked !== undefined) throw new FileError(blocked);
}

/** Where the paths of a profile really lie; a workspace may be reached by a link. */
async function realOf(
  { files }: Pick<Permissions, "files">,
  workspace: string,
  real: string,
): Promise<Pick<Permissions, "files">> {
  return files === undefined ? {} : { files: await realPermissions(files, workspace, real) };
}

async function resolveCwd(path: string, { workspace, restrict }: ExecRules): Promise<string> {
  const none = { allowRead: [], allowWrite: [], keyFiles: [] };
  const bounds = { workspace, restrict, readOutside: false, ...none };
  const { folder, names, exists } = await locate(path, "read", bounds);
  const real = join(folder, ...names);
  if (!exists || !(await stat(real)).isDirectory()) {
    throw new FileError("cwd is no folder that is there");
  }
  return real;
}
