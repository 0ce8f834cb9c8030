import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { platform } from "node:os";
import { settlesWithin } from "../../../base/async.ts";
import { shellArgs } from "./environment.ts";
import type { Shell } from "./environment.ts";
import { readPaced } from "./output.ts";
import { endTree, MARK, treeOf } from "./process-tree.ts";

/** A command that the rules allow, and what it starts with. */
export interface PreparedCommand {
  readonly command: string;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Absent: the command runs without a sandbox. */
  readonly sandbox?: Sandbox | undefined;
  /** Arguments before the command that limit its resources. */
  readonly limits: readonly string[];
  readonly shell: Shell;
  /** Arguments that give it a terminal; absent without one. */
  readonly terminal?: readonly string[];
}

interface Start extends PreparedCommand {
  /** Whether `write` reaches it; otherwise its input is empty. */
  readonly hasInput: boolean;
  /** Gets stdout and stderr in the order of arrival. */
  readonly onOutput: (bytes: Uint8Array) => void;
}

/** Isolates a command from the rest of the machine. */
export interface Sandbox {
  /** Arguments that put the command into it. */
  readonly args: readonly string[];
  /** Tells a model what the sandbox forbids, when a command failed. */
  readonly note: string;
}

/** How a command ended. */
export interface Ending {
  readonly code: number | null;
  readonly signal: string | null;
  /** Why it could not be started. */
  readonly fault?: string;
  /** Whether it left processes running, which were ended. */
  readonly leftSome?: boolean;
  /** The note of its sandbox, if it had one. */
  readonly note?: string | undefined;
}

export interface Running {
  /** Resolves when the command and all its processes are gone; never rejects. */
  readonly ended: Promise<Ending>;
  /** Ends the command and all its processes within three seconds. */
  stop(): Promise<void>;
  /** Writes to its input. Returns false if that is closed or not read. */
  write(text: string): Promise<boolean>;
}

/** Milliseconds after the exit in which other holders of its output may still write. */
const INHERITED_OUTPUT_MS = 200;
/** Milliseconds in which output must arrive once no process is left. */
const DRAIN_MS = 500;

/** Starts a shell command in a process group of its own. */
export function startCommand(start: Start): Running {
  const mark = randomUUID();
  const child = spawnCommand(start, mark);
  const tree = treeOf({ leader: child.pid ?? 0, mark, isSandboxed: start.sandbox !== undefined });
  for (const output of [child.stdout, child.stderr]) {
    if (output !== null) readPaced(output, start.onOutput);
  }
  const { exited, closed } = endsOf(child);
  /** Resolves after a stop, even if the command survives it. */
  const stopDone = Promise.withResolvers<void>();
  let stopping: Promise<Ending> | undefined;
  const stopped = async (): Promise<Ending> => {
    if (child.pid !== undefined) await endTree(tree);
    await settlesWithin(closed, DRAIN_MS);
    // A process that SIGKILL does not end is not waited for.
    return (await settlesWithin(exited, 0)) ? await exited : { code: null, signal: "SIGKILL" };
  };
  const stop = (): Promise<Ending> => (stopping ??= stopped().finally(stopDone.resolve));
  const natural = async (): Promise<Ending> => {
    await Promise.race([
      exited.then(() => settlesWithin(closed, INHERITED_OUTPUT_MS)),
      stopDone.promise,
    ]);
    // The command may end before the processes that it started.
    if (stopping !== undefined) return await stopping;
    const ending = await exited;
    if (ending.fault !== undefined) return ending;
    const leftSome = await endTree(tree);
    await settlesWithin(closed, DRAIN_MS);
    return { ...ending, leftSome, note: start.sandbox?.note };
  };
  return {
    ended: natural().finally(() => release(child)),
    stop: async () => void (await stop()),
    write: (text) => writeInput(child, text),
  };
}

function spawnCommand(start: Start, mark: string): ChildProcess {
  const { command, cwd, env, sandbox, hasInput } = start;
  const isWindows = platform() === "win32";
  const [file, ...args] = isWindows
    ? ["cmd.exe", "/d", "/s", "/c", `"${command}"`]
    : argvOf(start, mark);
  return spawn(file ?? "", args, {
    cwd,
    env: sandbox === undefined ? { ...env, [MARK]: mark } : env,
    detached: !isWindows,
    stdio: [hasInput ? "pipe" : "ignore", "pipe", "pipe"],
    windowsHide: true,
    windowsVerbatimArguments: isWindows,
  });
}

function argvOf(
  { command, sandbox, limits, terminal, shell }: Start,
  mark: string,
): readonly string[] {
  // The sandbox's own processes get no mark: SIGTERM would make them kill the command at once.
  const around = sandbox === undefined ? [] : [...sandbox.args, "env", `${MARK}=${mark}`];
  const inner =
    terminal === undefined ? [...shellArgs(shell), command] : [...terminal, command, "/dev/null"];
  return [...around, ...limits, ...inner];
}

interface Ends {
  /** How the command ended, or why it did not start. */
  readonly exited: Promise<Ending>;
  /** Resolves when all of its output has arrived. */
  readonly closed: Promise<void>;
}

function endsOf(child: ChildProcess): Ends {
  const exited = Promise.withResolvers<Ending>();
  const closed = Promise.withResolvers<void>();
  child.once("error", (error) => {
    exited.resolve({ code: null, signal: null, fault: error.message });
    closed.resolve();
  });
  child.once("exit", (code, signal) => exited.resolve({ code, signal }));
  child.once("close", () => closed.resolve());
  child.stdin?.on("error", () => {
    // The command closed its input; `write` returns false.
  });
  return { exited: exited.promise, closed: closed.promise };
}

function release(child: ChildProcess): void {
  for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.destroy();
}

/** Milliseconds in which the command must read its input. */
const WRITE_MS = 2000;

async function writeInput({ stdin }: ChildProcess, text: string): Promise<boolean> {
  if (stdin === null || !stdin.writable) return false;
  const written = Promise.withResolvers<boolean>();
  stdin.write(text, (error) => written.resolve(error === null || error === undefined));
  return (await settlesWithin(written.promise, WRITE_MS)) && (await written.promise);
}

/** How a command ended, as a line below its output. */
export function endingText({ code, signal, fault, leftSome, note }: Ending): string {
  if (fault !== undefined) return `[could not be started: ${fault}]`;
  const how = signal === null ? `exit code ${code ?? "unknown"}` : `ended by ${signal}`;
  const left = "; processes that it left running were ended, use background for those";
  const why = code !== 0 && note !== undefined ? `; ${note}` : "";
  return `[${how}${leftSome === true ? left : ""}${why}]`;
}
