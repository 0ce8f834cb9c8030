import { closeSync, constants, openSync, readFileSync, writeSync } from "node:fs";
import process from "node:process";
import type { Readable } from "node:stream";
import { codeOf, Failure } from "./failure.ts";

/** Standard output or standard error of the process. */
export interface Output {
  readonly isTTY: boolean;
  /** Width in columns; 80 if unknown. */
  readonly columns: number;
  /**
   * Aborted when nothing more can be written. The reason is a `Failure` (`failed`) when a disk is full or a
   * terminal was closed. When the reader of a pipe is gone (`| head -1`), it is not: further output is lost, and
   * that is not a failure.
   */
  readonly closed: AbortSignal;
  /** Resolves when the text is written, or lost; awaiting it bounds the pending output. Does not reject. */
  write(text: string | Uint8Array): Promise<void>;
}

export type StopSignal = "SIGINT" | "SIGTERM";

/** The process, its streams and its environment. This file is the only reader of the runtime's globals. */
export interface Host {
  /** The command-line arguments after the program's name. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** "" if this user has none. */
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
   * Calls back at every SIGHUP until the returned function is called. `isTerminalClosed`: the process began on a
   * terminal, and that is gone. It never is after `nohup`.
   */
  onHangup(listener: (isTerminalClosed: boolean) => void): () => void;
  /**
   * Calls back with every uncaught exception and unhandled rejection from now on. The runtime then prints
   * nothing and continues.
   */
  onCrash(listener: (thrown: unknown) => void): void;
  /** The exit code that the process ends with when nothing keeps it alive. */
  setExitCode(code: number): void;
  /** Ends at once, even with pending output: for the second signal, and after a crash. */
  exitNow(code: number): never;
}

/** The host of this process. Must be called before libraries are loaded. */
export function createHost(): Host {
  // Where DEBUG names them, libraries print packets and headers, with passwords.
  delete process.env["DEBUG"];
  return {
    args: process.argv.slice(2),
    env: process.env,
    home: homeFolder(),
    cwd: process.cwd(),
    pid: process.pid,
    platform: `${process.platform}-${process.arch}`,
    runtime: runtimeName(process.versions),
    // A getter, because touching stdin can start reading it.
    get stdin() {
      return { isTTY: process.stdin.isTTY, stream: process.stdin };
    },
    stdout: createOutput(() => process.stdout),
    stderr: createOutput(() => process.stderr),
    onSignal: listenForSignals,
    onHangup: listenForHangup,
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

/** The name of this machine. */
export function hostName(): string {
  try {
    // Cheaper than node:os.
    return readFileSync("/proc/sys/kernel/hostname", "utf8").trim();
  } catch {
    return process.getBuiltinModule("node:os").hostname();
  }
}

/** As `homedir()` of node:os, which takes longer to load than all else here. */
function homeFolder(): string {
  const home = process.platform === "win32" ? undefined : process.env["HOME"];
  try {
    return home || process.getBuiltinModule("node:os").homedir();
  } catch {
    // No HOME, and a user that the machine does not know, as in a container.
    return "";
  }
}

function runtimeName(versions: NodeJS.ProcessVersions & { deno?: string }): string {
  if (versions["bun"] !== undefined) return `bun ${versions["bun"]}`;
  if (versions.deno !== undefined) return `deno ${versions.deno}`;
  return `node ${versions.node}`;
}

function listenForSignals(listener: (signal: StopSignal) => void): () => void {
  isHangupIgnored ??= ignoresHangup();
  const signals: readonly StopSignal[] = ["SIGINT", "SIGTERM"];
  const handlers = signals.map((signal) => ({ signal, handler: () => listener(signal) }));
  for (const { signal, handler } of handlers) process.on(signal, handler);
  return () => {
    for (const { signal, handler } of handlers) process.off(signal, handler);
  };
}

/** As the process was started: under Deno the first listener, of any signal, ends that. */
let isHangupIgnored: boolean | undefined;

/** Milliseconds within which a shell that hangs up its jobs has closed its terminal, too. */
const HANGUP_MS = 250;

function listenForHangup(listener: (isTerminalClosed: boolean) => void): () => void {
  isHangupIgnored ??= ignoresHangup();
  const hadTerminal = hasTerminal() && !isHangupIgnored;
  const handler = (): void => {
    if (!hadTerminal) listener(false);
    else setTimeout(() => listener(process.platform === "win32" || !hasTerminal()), HANGUP_MS);
  };
  process.on("SIGHUP", handler);
  return () => process.off("SIGHUP", handler);
}

/** Whether the process has a controlling terminal. On Windows the signal comes only from a console. */
function hasTerminal(): boolean {
  if (process.platform === "win32") return true;
  try {
    closeSync(openSync("/dev/tty", constants.O_RDONLY | constants.O_NOCTTY | constants.O_NONBLOCK));
    return true;
  } catch {
    return false;
  }
}

/** Whether the process was started to outlive its terminal: `nohup` leaves the signal, the lowest bit, ignored. */
function ignoresHangup(): boolean {
  try {
    return /^SigIgn:.*[13579bdf]$/m.test(readFileSync("/proc/self/status", "utf8"));
  } catch {
    return false;
  }
}

type Stream = NodeJS.WriteStream;

/** Error codes of a pipe and a socket whose other side is gone. */
const READER_IS_GONE = new Set(["EPIPE", "ECONNRESET", "ERR_STREAM_DESTROYED"]);
/** Error codes of a disk, a quota and a size limit that allow no more. */
const IS_FULL = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

/** The stream is opened when it is used first: that takes longer than all else here. */
function createOutput(open: () => Stream): Output {
  const closed = new AbortController();
  let watched = false;
  const close = (error: Error): void => {
    const isGone = READER_IS_GONE.has(codeOf(error));
    closed.abort(isGone ? undefined : unwritable(error));
  };
  return {
    get isTTY() {
      return open().isTTY;
    },
    get columns() {
      return open().columns || 80;
    },
    closed: closed.signal,
    write(text) {
      if (closed.signal.aborted) return Promise.resolve();
      const stream = open();
      if (!watched) stream.on("error", close);
      watched = true;
      return new Promise((resolve) => {
        const written = (error?: Error | null): void => {
          if (error) close(error);
          resolve();
        };
        try {
          stream.write(text, written);
        } catch (thrown) {
          // Deno throws.
          written(thrown instanceof Error ? thrown : new Error(String(thrown)));
        }
      });
    },
  };
}

/** Writes a short ASCII text to standard output at once; returns false if not all of it could be written. */
export function printNow(text: string): boolean {
  try {
    return writeSync(1, text) === text.length;
  } catch {
    return false;
  }
}

function unwritable(error: Error): Failure {
  return new Failure("failed", "the output could not be written", {
    why: error.message,
    remedy: IS_FULL.has(codeOf(error))
      ? "free space where the output goes, and run it again"
      : "check the file or device that the output goes to, and run it again",
    cause: error,
  });
}

/** An environment variable, for code that cannot take a `Host`. */
export function variable(name: string): string | undefined {
  return process.env[name];
}

/** The effective user id; undefined on Windows, where files have no such owner. */
export function userId(): number | undefined {
  return process.platform === "win32" ? undefined : process.geteuid?.();
}

/**
 * Sends a signal to the process group that a detached child leads; 0 only tests whether it exists. Returns
 * false if the group is gone or belongs to another user.
 */
export function signalGroup(leader: number, signal: NodeJS.Signals | 0): boolean {
  return signalProcess(-leader, signal);
}

/** As `signalGroup`, for one process. */
export function signalProcess(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/** Stops the process and its job, as Ctrl-Z does; returns when it continues (`fg`). Nothing happens on Windows. */
export function suspendJob(): void {
  if (process.platform !== "win32") signalProcess(0, "SIGTSTP");
}

/**
 * Collects garbage now. Without it the runtimes let garbage grow to several times the memory in use. Takes
 * about 10 ms.
 */
export function collectGarbage(): void {
  collector ??= createCollector();
  collector();
}

/**
 * Lets the runtime compile hot code as early as it usually does. The binary starts with that delayed, because
 * code that runs once is faster interpreted than compiled.
 */
export function compileHotCode(): void {
  const { Bun: bun }: { Bun?: { unsafe: { setJITPolicy(scale: number): void } } } = globalThis;
  bun?.unsafe.setJITPolicy(1);
}

/** Requests that Bun's `fetch` has under way at the same time, unless this variable says otherwise. */
const REQUESTS_AT_ONCE = 256;
const REQUESTS = "BUN_CONFIG_MAX_HTTP_REQUESTS";
/** Bytes below which compiled code is not worth its memory. */
const SMALL_MEMORY = 512 * 2 ** 20;
/** Whether Bun compiles code. Commands that the gateway runs choose for themselves. */
const COMPILES = "BUN_JSC_useJIT";
const { [COMPILES]: compiles } = process.env;

/** Lets `fetch` have so many requests under way at the same time: call this before anything is opened. */
export function allowRequests(most: number): void {
  const isBun = process.versions["bun"] !== undefined;
  if (isBun && most > REQUESTS_AT_ONCE && process.env[REQUESTS] === undefined)
    restartWith(REQUESTS, "65535");
}

/**
 * Starts the binary anew without compiled code where the process may have less than 512 MiB, by its machine or
 * its control group: compiled code and its making take half of the memory after much work, and save a third of
 * its time (docs/performance.md).
 */
export function runSmall(): void {
  delete process.env[COMPILES];
  const isSmall = isStandalone() && process.constrainedMemory() < SMALL_MEMORY;
  if (isSmall && compiles === undefined) restartWith(COMPILES, "0");
}

/**
 * Starts the program anew, in the same process, with a variable that the runtime reads only at its start. Returns
 * where that cannot be.
 */
function restartWith(name: string, value: string): void {
  const { execPath, argv, argv0, env } = process;
  const words = isStandalone() ? argv.slice(2) : [...process.execArgv, ...argv.slice(1)];
  const chosen = compiles !== undefined && { [COMPILES]: compiles };
  try {
    process.execve?.(execPath, [argv0, ...words], { ...env, ...chosen, [name]: value });
  } catch {
    // The program's file is gone.
  }
}

/** Whether the program is one binary: then its script is in the file system inside of it. */
function isStandalone(): boolean {
  return /^(?:\/\$bunfs|[A-Z]:[\\/]~BUN)/.test(process.argv[1] ?? "");
}

/** The file of this program; undefined if it runs from source. */
export function programFile(): string | undefined {
  return isStandalone() ? process.execPath : undefined;
}

/** Bytes of physical memory that the process holds; takes some 20 µs. */
export function residentBytes(): number {
  return process.memoryUsage.rss();
}

/** Bytes of the JavaScript heap with its garbage; 0 where the runtime keeps its own heap small. */
export function heapBytes(): number {
  const jsc: { heapSize?: () => number } | undefined = process.getBuiltinModule("bun:jsc");
  return jsc?.heapSize?.() ?? 0;
}

/** Drops what the runtime has compiled, a third of the memory after much work. It is compiled anew when it runs. */
export function dropCode(): void {
  const { Bun: bun }: { Bun?: { shrink(): void } } = globalThis;
  bun?.shrink();
}

let collector: (() => void) | undefined;

function createCollector(): () => void {
  const { Bun: bun }: { Bun?: { gc(force: boolean): void } } = globalThis;
  if (bun !== undefined) return () => bun.gc(true);
  // V8 exposes its collector only to contexts that are created after the flag is set.
  process.getBuiltinModule("node:v8").setFlagsFromString("--expose-gc");
  const found: unknown = process.getBuiltinModule("node:vm").runInNewContext("gc");
  return typeof found === "function" ? () => void found() : () => {};
}

/** Ends this process as kill -9 does, for crash tests. */
export function killNow(): void {
  process.kill(process.pid, "SIGKILL");
}

/**
 * The `fetch` options of this runtime that send a request through a proxy, or a sentence that says why it
 * cannot. `fetch` ignores unknown options, so no other code may guess them.
 */
export function proxyOptions(proxy: URL): object | string {
  const scheme = proxy.protocol.slice(0, -1);
  const name = runtimeName(process.versions).split(" ")[0] ?? "";
  const schemes = PROXY_SCHEMES[name] ?? [];
  if (schemes.length === 0) return `${name} cannot send a single request through a proxy`;
  if (!schemes.includes(scheme)) {
    return `${name} supports ${schemes.join(", ")} proxies, not ${scheme}`;
  }
  // A proxy that the configuration names is also used for the hosts in NO_PROXY.
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
 * The `fetch` option of this runtime that leaves a body compressed, so that the reader can bound its size.
 * Undefined if the runtime has none; it then decompresses the body while it is read.
 */
export function compressedOption(): object | undefined {
  return process.versions["bun"] === undefined ? undefined : { decompress: false };
}

/** The words that start this program again: the binary, or a runtime and the file that it runs. */
export function programWords(): readonly string[] {
  const { execPath, argv, execArgv, versions } = process;
  if (isStandalone()) return [execPath];
  return [execPath, ...("deno" in versions ? ["run", "-A"] : execArgv), argv[1] ?? ""];
}
