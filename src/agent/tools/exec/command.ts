import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { platform } from "node:os";
import { readPaced } from "./output.ts";
import { endTree, MARK } from "./process-tree.ts";
import { shellArgs } from "./shell.ts";
import type { Shell } from "./shell.ts";

export interface Start {
  readonly command: string;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Words before the command that put it into a sandbox; none is none. */
  readonly sandbox?: Sandbox;
  /** Words before the command that bound what it can take. */
  readonly limits: readonly string[];
  readonly shell: Shell;
  /** Words before the command that give it a terminal; none is none. */
  readonly terminal?: readonly string[];
  /** Whether something can be written to it; else its input is empty. */
  readonly hasInput: boolean;
  /** Gets both of its outputs in the order in which they arrive. */
  readonly onOutput: (bytes: Uint8Array) => void;
}

/** What keeps a command from the rest of the machine. */
export interface Sandbox {
  readonly words: readonly string[];
  /** What it does not let through, for a model that wonders why its command failed. */
  readonly note: string;
}

/** How a command ended. */
export interface Ending {
  readonly code: number | null;
  readonly signal: string | null;
  /** Why it could not be started. */
  readonly fault?: string;
  /** It left processes running, which were ended. */
  readonly leftSome?: boolean;
  /** What its sandbox does not let through, where it had one. */
  readonly note?: string;
}

export interface Running {
  /** Resolves when the command and all that it started are gone; never rejects. */
  readonly ended: Promise<Ending>;
  /** Ends it with all that it started, within three seconds. */
  stop(): Promise<void>;
  /** Writes to its input; false where that is closed. */
  write(text: string): Promise<boolean>;
}

/** Milliseconds that others, to whom the command gave its output, may write on after its end. */
const INHERITED_OUTPUT_MS = 200;
/** Milliseconds in which output must have arrived once nobody is left to write any. */
const DRAIN_MS = 500;

/** Starts a shell command, in a process group of its own. */
export function startCommand(start: Start): Running {
  const mark = randomUUID();
  const child = spawnCommand(start, mark);
  const tree = { leader: child.pid ?? 0, mark, isSandboxed: start.sandbox !== undefined };
  for (const output of [child.stdout, child.stderr]) {
    if (output !== null) readPaced(output, start.onOutput);
  }
  const { exited, closed } = endsOf(child);
  /** Resolves after a stop, also where the command lives on. */
  const stuck = Promise.withResolvers<void>();
  let stopping: Promise<Ending> | undefined;
  const stopped = async (): Promise<Ending> => {
    if (child.pid !== undefined) await endTree(tree);
    await closedWithin(DRAIN_MS);
    // What cannot even be killed is not waited for.
    return (await Promise.race([exited, wait(0)])) ?? { code: null, signal: "SIGKILL" };
  };
  const stop = (): Promise<Ending> => (stopping ??= stopped().finally(stuck.resolve));
  const natural = async (): Promise<Ending> => {
    await Promise.race([exited.then(() => closedWithin(INHERITED_OUTPUT_MS)), stuck.promise]);
    // It may have ended before those that it started.
    if (stopping !== undefined) return await stopping;
    const ending = await exited;
    if (ending.fault !== undefined) return ending;
    const leftSome = await endTree(tree);
    await closedWithin(DRAIN_MS);
    return {
      ...ending,
      leftSome,
      ...(start.sandbox !== undefined && { note: start.sandbox.note }),
    };
  };
  const closedWithin = (milliseconds: number): Promise<void> =>
    Promise.race([closed, wait(milliseconds)]);
  return {
    ended: natural().finally(() => release(child)),
    stop: async () => void (await stop()),
    write: (text) => writeInput(child, text),
  };
}

function spawnCommand(start: Start, mark: string): ChildProcess {
  const { command, cwd, env, sandbox, hasInput } = start;
  const isWindows = platform() === "win32";
  const [file, ...words] = isWindows
    ? ["cmd.exe", "/d", "/s", "/c", `"${command}"`]
    : argvOf(start, mark);
  return spawn(file ?? "", words, {
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
  // The sandbox's own processes have no mark: asking them to end would kill what is in it.
  const around = sandbox === undefined ? [] : [...sandbox.words, "env", `${MARK}=${mark}`];
  const words =
    terminal === undefined ? [...shellArgs(shell), command] : [...terminal, command, "/dev/null"];
  return [...around, ...limits, ...words];
}

interface Ends {
  /** How it ended, or why it never began. */
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
    // It reads no more; `write` says so.
  });
  return { exited: exited.promise, closed: closed.promise };
}

function release(child: ChildProcess): void {
  for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.destroy();
}

/** Milliseconds after which input that is not read is given up. */
const WRITE_MS = 2000;

async function writeInput(child: ChildProcess, text: string): Promise<boolean> {
  const { stdin } = child;
  if (stdin === null || !stdin.writable) return false;
  const done = new Promise<boolean>((resolve) => {
    stdin.write(text, (error) => resolve(error === null || error === undefined));
  });
  return await Promise.race([done, wait(WRITE_MS).then(() => false)]);
}

async function wait(milliseconds: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
}
