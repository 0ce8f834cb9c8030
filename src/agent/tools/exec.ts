import { stat } from "node:fs/promises";
import { join } from "node:path";
import { onAbort } from "../../base/async.ts";
import { variable } from "../../base/host.ts";
import type { Log } from "../../base/log.ts";
import { textAt } from "../../base/unknown.ts";
import type { ExecSettings } from "../../config/contract.ts";
import type { CallContext, Tool } from "./contract.ts";
import { RefusedCall, ToolError } from "./contract.ts";
import { defineTool } from "./define.ts";
import { endingText, startCommand } from "./exec/command.ts";
import type { PreparedCommand, Running } from "./exec/command.ts";
import { commandEnvironment, findShell, limitArgs, terminalArgs } from "./exec/environment.ts";
import { EXEC_INPUT } from "./exec/input.ts";
import type { ExecInput } from "./exec/input.ts";
import { createExcerpt } from "./exec/output.ts";
import { checkCommand } from "./exec/policy/policy.ts";
import { commandPaths } from "./exec/sandbox/mounts.ts";
import { sandboxFor } from "./exec/sandbox/sandbox.ts";
import { runSessionAction, Sessions, sessionText } from "./exec/sessions.ts";
import { withToolErrors } from "./files/errors.ts";
import { locate, realPermissions, realWorkspace } from "./files/locate.ts";

export interface ExecOptions {
  readonly workspace: string;
  readonly settings: ExecSettings;
  /** Whether the policy checks that paths of commands lie in the workspace. */
  readonly restrict: boolean;
  /** Milliseconds. */
  readonly now: () => number;
  readonly log: Log;
  /** The configuration's file. No command may see it. */
  readonly configFile?: string | undefined;
  /** Other files with keys, such as those of certificates. */
  readonly secretFiles?: readonly string[];
  /** Reads the environment. Default: the process's own. */
  readonly variable?: (name: string) => string | undefined;
}

export interface Exec {
  readonly tool: Tool;
  /** Ends all commands that still run. */
  readonly close: () => Promise<void>;
}

/** Milliseconds beyond the time limit to end a command and to collect its output. */
const ENDING_MS = 10_000;
/** Actions that change nothing, or only end what runs. */
const LOOKS: ReadonlySet<string> = new Set(["list", "poll", "read", "kill"]);
/** Stands for no limit: the call's signal ends the command. A timer holds at most 24 days. */
const NO_LIMIT_SECONDS = 2_000_000;

/** The tool that runs shell commands, to their end or in the background. */
export function createExec(options: ExecOptions): Exec {
  const { settings } = options;
  const commands = new Commands(options);
  const tool = defineTool({
    name: "exec",
    description:
      "Runs a shell command in the workspace and returns its output and exit code. stdin is closed; use background for long or interactive commands.",
    input: EXEC_INPUT,
    exclusive: true,
    actsOn: (wanted) => (LOOKS.has(textAt(wanted, "action")) ? undefined : []),
    milliseconds: (settings.timeout_seconds || NO_LIMIT_SECONDS) * 1000 + ENDING_MS,
    async run(input, call) {
      if (call.isRemote && settings.allow_remote === false) {
        throw new RefusedCall(
          "commands run only for somebody who talks to the agent on its own machine",
        );
      }
      return await withToolErrors(input.cwd || "cwd", () => commands.act(input, call));
    },
  });
  return { tool, close: () => commands.close() };
}

class Commands {
  readonly #options: ExecOptions;
  readonly #rules: ExecRules;
  readonly #sessions: Sessions;
  readonly #foreground = new Set<Running>();
  #isClosed = false;

  constructor(options: ExecOptions) {
    this.#options = options;
    this.#rules = rulesOf(options);
    this.#sessions = new Sessions(options.now);
  }

  async act(input: ExecInput, call: CallContext): Promise<string> {
    const { now } = this.#options;
    const action = input.action ?? "run";
    if (action === "run") return await this.#run(input, call);
    const own = this.#sessions.of(call.owner);
    if (action === "list") {
      return own.map((session) => sessionText(session, now())).join("\n") || "(no sessions)";
    }
    const wanted = input.session_id ?? input.sessionId;
    const session = own.find(({ id }) => id === wanted);
    if (session === undefined) throw new ToolError("no session has this session_id");
    return await runSessionAction(session, { ...input, action }, this.#rules, now());
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const stopped = [...this.#foreground].map((running) => running.stop());
    await Promise.all([this.#sessions.close(), ...stopped]);
  }

  async #run(input: ExecInput, call: CallContext): Promise<string> {
    const { settings, now, log } = this.#options;
    const { client, owner, signal } = call;
    const start = await prepareCommand(input, this.#rules, call);
    // The tool may have been closed during the preparation.
    if (this.#isClosed) throw new ToolError("no more commands are run");
    if (input.background === true) {
      const { id } = this.#sessions.open(owner, start);
      log.debug("a command runs in the background", { client, session: id });
      return `session_id: ${id}\nIt runs in the background; poll, read, write, send-keys and kill take this id.`;
    }
    const began = now();
    // The shorter of the model's limit and the settings' limit.
    const limits = [input.timeout, settings.timeout_seconds];
    const seconds = Math.min(...limits.map((limit) => limit || NO_LIMIT_SECONDS));
    const text = await this.#runToEnd(start, signal, seconds);
    log.debug("a command ran", { client, ms: now() - began });
    return text;
  }

  /** Runs a command to its end, its time limit or the signal, and returns its output. */
  async #runToEnd(start: PreparedCommand, signal: AbortSignal, seconds: number): Promise<string> {
    signal.throwIfAborted();
    const excerpt = createExcerpt();
    const running = startCommand({
      ...start,
      hasInput: false,
      onOutput: (bytes) => excerpt.push(bytes),
    });
    this.#foreground.add(running);
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      void running.stop();
    }, seconds * 1000);
    const stopListening = onAbort(signal, () => void running.stop());
    const ending = await running.ended;
    clearTimeout(timer);
    stopListening();
    this.#foreground.delete(running);
    const late = isLate
      ? `error: not done within ${seconds} s and ended; its output until then:\n`
      : "";
    const text = excerpt.text().trimEnd();
    return `${late}${text === "" ? "(no output)" : text}\n${endingText(ending)}`;
  }
}

/** The rules under which commands run. */
interface ExecRules extends Pick<
  ExecOptions,
  "workspace" | "settings" | "restrict" | "configFile"
> {
  readonly env: Readonly<Record<string, string>>;
  /** Other files and folders with keys. */
  readonly secretFiles: readonly string[];
}

function rulesOf({
  variable: read = variable,
  secretFiles = [],
  ...options
}: ExecOptions): ExecRules {
  const credentials = read("CREDENTIALS_DIRECTORY") ?? "";
  return {
    ...options,
    env: commandEnvironment(read, options.workspace),
    secretFiles: [...secretFiles, credentials].filter((path) => path !== ""),
  };
}

/** Checks a command and returns all that it needs to start. Throws a `ToolError` if it must not run. */
async function prepareCommand(
  input: ExecInput,
  rules: ExecRules,
  { permissions, isRemote }: Pick<CallContext, "permissions" | "isRemote">,
): Promise<PreparedCommand> {
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
  const blocked = await checkCommand(command, { ...rules, workspace, cwd, otherPaths });
  if (blocked !== undefined) throw new RefusedCall(blocked);
  const shell = await findShell(rules.env);
  const limits = await limitArgs(cwd);
  const env = sandbox === undefined ? rules.env : { ...rules.env, TMPDIR: "/tmp" };
  const start = { command, cwd, env, limits, shell, sandbox };
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

async function withTerminal(start: PreparedCommand): Promise<PreparedCommand> {
  const terminal = await terminalArgs(start.env);
  if (terminal === undefined) {
    throw new ToolError("there is no terminal: the program script is not installed here");
  }
  // `script` starts the program in SHELL, which would be the user's own shell.
  return { ...start, terminal, env: { ...start.env, SHELL: start.shell.program } };
}
