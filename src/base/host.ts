import { homedir } from "node:os";
import process from "node:process";
import type { Readable } from "node:stream";

/** One of the two outgoing streams of the process. */
export interface Output {
  readonly isTTY: boolean;
  /** Width in columns; 80 where it cannot be known. */
  readonly columns: number;
  /** Aborted when the reader has gone (`| head -1`): nothing more will be seen, and that is no failure. */
  readonly closed: AbortSignal;
  /**
   * Resolves when the text was handed over to the reader or the reader has gone, so that awaiting it
   * bounds what is pending. Never rejects on a closed pipe.
   */
  write(text: string | Uint8Array): Promise<void>;
}

export type StopSignal = "SIGINT" | "SIGTERM";

/** The real world, as far as this program touches it: the only reader of the runtime's globals. */
export interface Host {
  /** The words after the program's name. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
  readonly cwd: string;
  readonly pid: number;
  /** `linux-x64`, as npm spells platforms. */
  readonly platform: string;
  /** `bun 1.4.5`, `deno 2.9.6`, `node 24.1.0`. */
  readonly runtime: string;
  readonly stdin: { readonly isTTY: boolean; readonly stream: Readable };
  readonly stdout: Output;
  readonly stderr: Output;
  /** Calls back at every SIGINT and SIGTERM until the returned function is called. */
  onSignal(listener: (signal: StopSignal) => void): () => void;
  /**
   * Calls back with what was thrown and is caught nowhere, and with what a promise was rejected with
   * that nobody waits for, from now on; the runtime then prints nothing and goes on.
   */
  onCrash(listener: (thrown: unknown) => void): void;
  /** What the process will exit with once nothing keeps it alive. */
  setExitCode(code: number): void;
  /** Ends at once, pending output or not: for the second signal, and after a crash. */
  exitNow(code: number): never;
}

/** The host that this process really runs on. */
export function createHost(): Host {
  return {
    args: process.argv.slice(2),
    env: process.env,
    home: homedir(),
    cwd: process.cwd(),
    pid: process.pid,
    platform: `${process.platform}-${process.arch}`,
    runtime: runtimeName(process.versions),
    // A getter, because touching stdin can start reading it.
    get stdin() {
      return { isTTY: process.stdin.isTTY, stream: process.stdin };
    },
    stdout: createOutput(process.stdout),
    stderr: createOutput(process.stderr),
    onSignal: listenForSignals,
    onCrash(listener) {
      process.on("uncaughtException", listener);
      process.on("unhandledRejection", listener);
    },
    setExitCode: (code) => {
      process.exitCode = code;
    },
    // oxlint-disable-next-line unicorn/no-process-exit
    exitNow: (code) => process.exit(code),
  };
}

function runtimeName(versions: NodeJS.ProcessVersions & { deno?: string }): string {
  if (versions["bun"] !== undefined) return `bun ${versions["bun"]}`;
  if (versions.deno !== undefined) return `deno ${versions.deno}`;
  return `node ${versions.node}`;
}

function listenForSignals(listener: (signal: StopSignal) => void): () => void {
  const signals: readonly StopSignal[] = ["SIGINT", "SIGTERM"];
  const handlers = signals.map((signal) => ({ signal, handler: () => listener(signal) }));
  for (const { signal, handler } of handlers) process.on(signal, handler);
  return () => {
    for (const { signal, handler } of handlers) process.off(signal, handler);
  };
}

type Stream = NodeJS.WriteStream;

function createOutput(stream: Stream): Output {
  const closed = new AbortController();
  let watched = false;
  return {
    isTTY: stream.isTTY,
    get columns() {
      return stream.columns || 80;
    },
    closed: closed.signal,
    write(text) {
      if (closed.signal.aborted) return Promise.resolve();
      if (!watched) stream.on("error", () => closed.abort());
      watched = true;
      return new Promise((resolve) => {
        stream.write(text, (error) => {
          if (error) closed.abort();
          resolve();
        });
      });
    },
  };
}

/** One variable of the environment, for what cannot be handed a host. */
export function variable(name: string): string | undefined {
  return process.env[name];
}

/** The number of the user that the process acts as; undefined where files have no such owner (Windows). */
export function userId(): number | undefined {
  return process.platform === "win32" ? undefined : process.geteuid?.();
}

/**
 * Sends a signal to every process of a group (the one that a detached child leads); 0 only asks whether
 * there is one. False where the group is gone or is not ours.
 */
export function signalGroup(leader: number, signal: NodeJS.Signals | 0): boolean {
  return signalProcess(-leader, signal);
}

/** The same for one process. */
export function signalProcess(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/**
 * Lets go of garbage now: left to themselves the runtimes let it grow to several times what is in use.
 * Takes some 10 ms.
 */
export function collectGarbage(): void {
  collector ??= createCollector();
  collector();
}

let collector: (() => void) | undefined;

function createCollector(): () => void {
  const { Bun: bun }: { Bun?: { gc(force: boolean): void } } = globalThis;
  if (bun !== undefined) return () => bun.gc(true);
  // V8 hands its collector only to a context that is made after it was told to.
  process.getBuiltinModule("node:v8").setFlagsFromString("--expose-gc");
  const found: unknown = process.getBuiltinModule("node:vm").runInNewContext("gc");
  return typeof found === "function" ? () => void found() : () => {};
}

/** Ends this process as kill -9 does: for tests of what survives it. */
export function killNow(): void {
  process.kill(process.pid, "SIGKILL");
}

/**
 * What this runtime's `fetch` takes in its options so that a request goes through a proxy; a sentence
 * where it cannot. An unknown option is not refused but ignored, so nobody else may guess at it.
 */
export function proxyOptions(proxy: URL): object | string {
  const scheme = proxy.protocol.slice(0, -1);
  const name = runtimeName(process.versions).split(" ")[0] ?? "";
  const known = PROXY_SCHEMES[name] ?? [];
  if (known.length === 0) return `${name} cannot send a request through a proxy of its own`;
  if (!known.includes(scheme)) {
    return `${name} speaks to proxies over ${known.join(", ")}, not over ${scheme}`;
  }
  // A proxy that is asked for by name holds for the hosts in NO_PROXY, too.
  if (name === "bun") return { proxy: { url: proxy.href, respectNoProxy: false } };
  const deno: unknown = Reflect.get(globalThis, "Deno");
  const create: unknown = Object(deno).createHttpClient;
  if (typeof create !== "function") return "this deno has no createHttpClient";
  return { client: create({ proxy: { url: proxy.href } }) };
}

const PROXY_SCHEMES: Readonly<Record<string, readonly string[]>> = {
  bun: ["http", "https"],
  deno: ["http", "https", "socks5", "socks5h"],
};

/**
 * The option of this runtime's `fetch` that leaves a body compressed, so that its reader bounds it;
 * undefined where there is none: the body is then decompressed as it is read, whatever its headers say.
 */
export function compressedOption(): object | undefined {
  return process.versions["bun"] === undefined ? undefined : { decompress: false };
}
