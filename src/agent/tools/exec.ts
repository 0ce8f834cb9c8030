import { variable } from "../../base/host.ts";
import type { Log } from "../../base/log.ts";
import type { ExecSettings } from "../../config/contract.ts";
import type { CallContext, Tool } from "./contract.ts";
import { defineTool } from "./define.ts";
import { prepareCommand } from "./exec/command-setup.ts";
import type { ExecRules } from "./exec/command-setup.ts";
import type { Running } from "./exec/command.ts";
import { startCommand } from "./exec/command.ts";
import { commandEnvironment } from "./exec/environment.ts";
import { EXEC_INPUT } from "./exec/input.ts";
import type { ExecInput } from "./exec/input.ts";
import { createExcerpt } from "./exec/output.ts";
import { runSessionAction, endingText, sessionText } from "./exec/session-actions.ts";
import { createSessions } from "./exec/sessions.ts";
import type { SessionStart } from "./exec/sessions.ts";
import { FileError, asToolError } from "./files/errors.ts";

export interface ExecOptions {
  readonly workspace: string;
  readonly settings: ExecSettings;
  /** Whether commands are kept to the workspace, as far as the guard can tell. */
  readonly restrict: boolean;
  /** Milliseconds. */
  readonly now: () => number;
  readonly log: Log;
  /** The configuration's file, which no command may see. */
  readonly configFile?: string;
  /** Other files with keys, such as those of certificates. */
  readonly secretFiles?: readonly string[];
  /** Reads the environment; the process's own where left out. */
  readonly variable?: (name: string) => string | undefined;
}

/** The tool, and the end of all commands that still run. */
export interface Exec {
  readonly tool: Tool;
  readonly close: () => Promise<void>;
}

/** Milliseconds that ending a command and collecting its output may take beyond its time. */
const ENDING_MS = 10_000;
/** Where there is no limit: the call's signal ends a command, and a timer cannot be set to more than 24 days. */
const NO_LIMIT_SECONDS = 2_000_000;

/** Runs shell commands, to their end or in the background. */
export function createExec(options: ExecOptions): Exec {
  const { settings } = options;
  const { act, close } = createActions(options);
  const tool = defineTool({
    name: "exec",
    description:
      "Runs a shell command in the workspace and tells its output and exit code. Its input is empty. What takes long or needs input: background.",
    input: EXEC_INPUT,
    exclusive: true,
    milliseconds: (settings.timeout_seconds || NO_LIMIT_SECONDS) * 1000 + ENDING_MS,
    async run(input, call) {
      if (call.isRemote && settings.allow_remote === false) {
        return "error: commands are run only for who talks to the agent on its own machine";
      }
      return await asToolError(input.cwd || "cwd", () => act(input, call));
    },
  });
  return { tool, close };
}

interface Actions {
  readonly act: (input: ExecInput, call: CallContext) => Promise<string>;
  readonly close: () => Promise<void>;
}

function createActions(options: ExecOptions): Actions {
  const { settings, now, log } = options;
  const rules = rulesOf(options);
  const sessions = createSessions(now);
  const foreground = new Set<Running>();
  const closed = new AbortController();

  const run = async (input: ExecInput, call: CallContext): Promise<string> => {
    const { client, owner, signal } = call;
    const start = await prepareCommand(input, rules, call);
    // It may have been closed while the folder was looked at.
    if (closed.signal.aborted) throw new FileError("no more commands are run");
    if (input.background === true) return inBackground({ client, owner }, start);
    const began = now();
    const seconds = secondsOf(input, settings);
    const text = await runToEnd(start, { signal, seconds, all: foreground });
    log.debug("a command ran", { client, ms: now() - began });
    return text;
  };

  const inBackground = (
    { client, owner }: Pick<CallContext, "client" | "owner">,
    start: SessionStart,
  ): string => {
    const session = sessions.open(owner, start);
    if (typeof session === "string") throw new FileError(session);
    log.debug("a command runs in the background", { client, session: session.id });
    return `sessionId: ${session.id}\nIt runs in the background; poll, read, write, send-keys and kill take this id.`;
  };

  return {
    async act(input, call) {
      const action = input.action ?? "run";
      if (action === "run") return await run(input, call);
      const known = sessions.of(call.owner);
      if (action === "list") {
        return known.map((session) => sessionText(session, now())).join("\n") || "(no sessions)";
      }
      const session = known.find(({ id }) => id === input.sessionId);
      if (session === undefined) throw new FileError("there is no session of that sessionId");
      return await runSessionAction(session, { ...input, action }, rules, now());
    },
    async close() {
      closed.abort();
      await Promise.all([sessions.close(), ...[...foreground].map((running) => running.stop())]);
    },
  };
}

/** The shorter of what the model asks for and what the settings allow. */
function secondsOf({ timeout }: ExecInput, settings: ExecSettings): number {
  return Math.min(timeout || NO_LIMIT_SECONDS, settings.timeout_seconds || NO_LIMIT_SECONDS);
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

interface ForegroundOptions {
  /** The command is ended when it is aborted. */
  readonly signal: AbortSignal;
  /** How long it may take; what a timer can be set to at most. */
  readonly seconds: number;
  /** Where it stands as long as it runs. */
  readonly all: Set<Running>;
}

/** Runs a command to its end, or to the end of its time, and tells what it wrote. */
async function runToEnd(start: SessionStart, options: ForegroundOptions): Promise<string> {
  const { signal, seconds, all } = options;
  signal.throwIfAborted();
  const excerpt = createExcerpt();
  const running = startCommand({
    ...start,
    hasInput: false,
    onOutput: (bytes) => excerpt.push(bytes),
  });
  all.add(running);
  let isLate = false;
  const stop = (): void => void running.stop();
  const timer = setTimeout(() => {
    isLate = true;
    stop();
  }, seconds * 1000);
  signal.addEventListener("abort", stop, { once: true });
  const ending = await running.ended;
  clearTimeout(timer);
  signal.removeEventListener("abort", stop);
  all.delete(running);
  const late = isLate
    ? `error: not done within ${seconds} s and ended; until then it wrote:\n`
    : "";
  const text = excerpt.text().trimEnd();
  return `${late}${text === "" ? "(no output)" : text}\n${endingText(ending)}`;
}
