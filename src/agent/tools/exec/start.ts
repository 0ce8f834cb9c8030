import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { platform } from "node:os";
import { endTree, MARK } from "./tree.ts";

export interface Start {
  readonly command: string;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Words before the command that give it a terminal; none is none. */
  readonly terminal?: readonly string[];
  /** Whether something can be written to it; else its input is empty. */
  readonly hasInput: boolean;
  /** Gets both of its outputs in the order in which they arrive. */
  readonly onOutput: (bytes: Uint8Array) => void;
}

/** How a command ended. */
export interface Ending {
  readonly code: number | null;
  readonly signal: string | null;
  /** Why it could not be started. */
  readonly fault?: string;
  /** It left processes running, which were ended. */
  readonly leftSome?: boolean;
}

export interface Running {
  /** Resolves when the command and all that it started are gone; never rejects. */
  readonly ended: Promise<Ending>;
  /** Ends it with all that it started, within three seconds. */
  stop(): Promise<void>;
  /** Writes to its input; false where that is closed. */
  write(text: string): Promise<boolean>;
}

/** Milliseconds in which output must arrive after the end: others may hold the pipe open. */
const LAST_WORDS_MS = 200;

/** Starts a shell command, in a process group of its own. */
export function startCommand(start: Start): Running {
  const mark = randomUUID();
  const child = spawned(start, mark);
  const tree = { leader: child.pid ?? 0, mark };
  for (const output of [child.stdout, child.stderr]) output?.on("data", start.onOutput);
  const exit = exitOf(child);
  /** Resolves after a stop, also where the command lives on. */
  const stuck = Promise.withResolvers<void>();
  let stopping: Promise<Ending> | undefined;
  const stopped = async (): Promise<Ending> => {
    if (child.pid !== undefined) await endTree(tree);
    // What cannot even be killed is not waited for.
    return (await Promise.race([exit, wait(LAST_WORDS_MS)])) ?? { code: null, signal: "SIGKILL" };
  };
  const stop = (): Promise<Ending> => (stopping ??= stopped().finally(stuck.resolve));
  const natural = async (): Promise<Ending> => {
    await Promise.race([exit, stuck.promise]);
    // It may have ended before those that it started.
    if (stopping !== undefined) return await stopping;
    const ending = await exit;
    return ending.fault === undefined ? { ...ending, leftSome: await endTree(tree) } : ending;
  };
  return {
    ended: natural().finally(() => release(child)),
    stop: async () => void (await stop()),
    write: (text) => written(child, text),
  };
}

function spawned({ command, cwd, env, terminal, hasInput }: Start, mark: string): ChildProcess {
  const isWindows = platform() === "win32";
  const [file, ...words] = isWindows
    ? ["cmd.exe", "/d", "/s", "/c", `"${command}"`]
    : terminal === undefined
      ? ["/bin/sh", "-c", command]
      : [...terminal, command, "/dev/null"];
  return spawn(file ?? "", words, {
    cwd,
    env: { ...env, [MARK]: mark },
    detached: !isWindows,
    stdio: [hasInput ? "pipe" : "ignore", "pipe", "pipe"],
    windowsHide: true,
    windowsVerbatimArguments: isWindows,
  });
}

/** Resolves when it has exited and its output has arrived. */
function exitOf(child: ChildProcess): Promise<Ending> {
  const { promise, resolve } = Promise.withResolvers<Ending>();
  child.once("error", (error) => resolve({ code: null, signal: null, fault: error.message }));
  child.stdin?.on("error", () => {
    // It reads no more; `write` says so.
  });
  child.once("close", (code, signal) => resolve({ code, signal }));
  child.once("exit", (code, signal) => {
    void wait(LAST_WORDS_MS).then(() => resolve({ code, signal }));
  });
  return promise;
}

function release(child: ChildProcess): void {
  for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.destroy();
}

/** Milliseconds after which input that is not read is given up. */
const WRITE_MS = 2000;

async function written(child: ChildProcess, text: string): Promise<boolean> {
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
