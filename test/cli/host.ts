import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import type { Host, StopSignal } from "../../src/base/host.ts";
import { runCommandLine } from "../../src/cli/cli.ts";
import { createMemoryOutput, type MemoryOutput } from "./memory.ts";

export interface FakeHost extends Host {
  readonly stdout: MemoryOutput;
  readonly stderr: MemoryOutput;
  readonly stdin: { readonly isTTY: boolean; readonly stream: PassThrough };
  /** Sends a signal to whoever listens. */
  signal(name: StopSignal): void;
  /** Sends a SIGHUP to whoever listens. */
  hangUp(isTerminalClosed: boolean): void;
  /** Hands over what nobody caught. */
  crash(thrown: unknown): void;
  /** How many listen for signals. */
  listeners(): number;
}

export interface FakeHostOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly isTTY?: boolean;
}

/** What `exitNow` throws here: nothing that follows may run. */
export class ExitedNow extends Error {
  readonly code: number;
  constructor(code: number) {
    super(`exited with ${code}`);
    this.code = code;
  }
}

/** A host in memory, whose standard input stays open until somebody writes to it and ends it. */
export function createFakeHost(args: readonly string[], options: FakeHostOptions = {}): FakeHost {
  const { env = {}, isTTY = false } = options;
  const listeners = new Set<(signal: StopSignal) => void>();
  const hangups = new Set<(isTerminalClosed: boolean) => void>();
  const onCrash: ((thrown: unknown) => void)[] = [];
  return {
    args,
    env,
    home: join(tmpdir(), "picoclaw-nobody"),
    cwd: tmpdir(),
    pid: 42,
    platform: "linux-x64",
    runtime: "test 1.0.0",
    stdin: { isTTY, stream: new PassThrough() },
    stdout: createMemoryOutput({ isTTY }),
    stderr: createMemoryOutput({ isTTY }),
    onSignal(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    onHangup(listener) {
      hangups.add(listener);
      return () => hangups.delete(listener);
    },
    onCrash: (listener) => void onCrash.push(listener),
    setExitCode() {},
    exitNow(code) {
      throw new ExitedNow(code);
    },
    signal(name) {
      for (const listener of listeners) listener(name);
    },
    hangUp(isTerminalClosed) {
      for (const listener of hangups) listener(isTerminalClosed);
    },
    crash(thrown) {
      for (const listener of onCrash) listener(thrown);
    },
    listeners: () => listeners.size,
  };
}

export interface RunOptions extends FakeHostOptions {
  /** The whole of standard input, which stays open without it. */
  readonly input?: string;
}

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command line with this home folder. */
export async function runIn(
  home: string,
  args: readonly string[],
  { env = {}, input, ...options }: RunOptions = {},
): Promise<Ran> {
  const host = createFakeHost(args, { ...options, env: { PICOCLAW_HOME: home, ...env } });
  if (input !== undefined) host.stdin.stream.end(input);
  const code = await runCommandLine(host);
  return { code, stdout: host.stdout.text(), stderr: host.stderr.text() };
}
