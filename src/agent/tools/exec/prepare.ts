import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { ExecSettings } from "../../../config/contract.ts";
import type { Rights } from "../../access/permissions.ts";
import type { CallFacts } from "../contract.ts";
import { FileFault } from "../files/errors.ts";
import { locate, realRights, realWorkspace } from "../files/locate.ts";
import { cageOf } from "./cage/cage.ts";
import { extentOf } from "./cage/extent.ts";
import { blockedBy } from "./guard/guard.ts";
import type { GuardOptions } from "./guard/guard.ts";
import type { ExecInput } from "./input.ts";
import { limitWords } from "./limits.ts";
import type { SessionStart } from "./sessions.ts";
import { shellOf } from "./shell.ts";
import type { Cage } from "./start.ts";
import { terminalWords } from "./terminal.ts";

/** Under which rules commands run. */
export interface Rules {
  readonly workspace: string;
  readonly settings: ExecSettings;
  readonly restrict: boolean;
  readonly env: Readonly<Record<string, string>>;
  /** The configuration's file, which no command may see. */
  readonly configFile?: string;
  /** Other files and folders with keys. */
  readonly secretFiles: readonly string[];
}

/** All that a command needs to start. Throws a `FileFault` in words for the model where it must not. */
export async function prepared(
  input: ExecInput,
  rules: Rules,
  { rights, isRemote }: Pick<CallFacts, "rights" | "isRemote">,
): Promise<SessionStart> {
  const command = input.command ?? "";
  if (command.trim() === "") throw new FileFault("there is no command to run");
  if (command.includes("\0")) throw new FileFault("the command holds a NUL character");
  const workspace = await realWorkspace(rules.workspace);
  const cwd = await folderOf(input.cwd || ".", { ...rules, workspace });
  const extent = extentOf(await realOf(rights, rules.workspace, workspace), workspace);
  const cage = await cageOf({ ...rules, workspace, extent, path: rules.env["PATH"] ?? "" });
  assertSandboxed(cage, isRemote, rules);
  // Without a cage what may be read could be written, too.
  const beside = [...extent.writable, ...(cage === undefined ? [] : extent.readable)];
  const shell = await shellOf(rules.env);
  await assertAllowed(command, { ...rules, workspace, cwd, beside, shell: shell.kind });
  const limits = await limitWords(cwd);
  const env = cage === undefined ? rules.env : { ...rules.env, TMPDIR: "/tmp" };
  const start = { command, cwd, env, limits, shell, ...(cage !== undefined && { cage }) };
  if (input.pty !== true) return start;
  const terminal = await terminalWords(rules.env);
  if (terminal === undefined) {
    throw new FileFault("there is no terminal: the program script is not installed here");
  }
  // `script` would take the user's own shell.
  return { ...start, terminal, env: { ...env, SHELL: shell.program } };
}

/** Who asks from elsewhere has the sandbox, unless the owner wrote that there is to be none. */
function assertSandboxed(cage: Cage | undefined, isRemote: boolean, { settings }: Rules): void {
  if (cage !== undefined || !isRemote || settings.sandbox === "none") return;
  throw new FileFault(
    "no command is run: those of clients run in a sandbox alone, and bubblewrap does not work here; the owner can install it",
  );
}

/** Throws a `FileFault` where the guard blocks a text for a shell. */
export async function assertAllowed(text: string, options: GuardOptions): Promise<void> {
  const blocked = await blockedBy(text, options);
  if (blocked !== undefined) throw new FileFault(blocked);
}

/** Where the paths of a profile really lie; a workspace may be reached by a link. */
async function realOf(
  { files }: Pick<Rights, "files">,
  workspace: string,
  real: string,
): Promise<Pick<Rights, "files">> {
  return files === undefined ? {} : { files: await realRights(files, workspace, real) };
}

async function folderOf(path: string, { workspace, restrict }: Rules): Promise<string> {
  const none = { allowRead: [], allowWrite: [], keyFiles: [] };
  const bounds = { workspace, restrict, readOutside: false, ...none };
  const { folder, names, exists } = await locate(path, "read", bounds);
  const real = join(folder, ...names);
  if (!exists || !(await stat(real)).isDirectory()) {
    throw new FileFault("cwd is no folder that is there");
  }
  return real;
}
