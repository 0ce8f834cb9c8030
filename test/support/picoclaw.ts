import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { closeSync, existsSync, openSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { temporaryFolder } from "./temporary.ts";
import { until } from "./until.ts";

const root = join(import.meta.dirname, "../..");
const main = join(root, "src/main.ts");

/** How the program is run: compiled where PICOCLAW_UNDER_TEST says so, else from source. */
const COMMANDS: Readonly<Record<string, readonly string[]>> = {
  binary: [join(root, "dist/picoclaw")],
  faults: [join(root, "dist/picoclaw-faults")],
  // The runtime that runs the tests: the scripts in node_modules/.bin keep signals to themselves.
  bun: [process.execPath, main],
  deno: [process.execPath, "run", "-A", "--quiet", main],
  node: [process.execPath, main],
};

const under = process.env["CI"] ? process.env["PICOCLAW_UNDER_TEST"] : "binary";
/** For `it`: what takes long and hangs on no runtime is run once in CI, compiled. */
export const onceInCi = { skip: under !== "binary" };
/** For `it`: what takes long is run in CI once with Bun, compiled, and once with Deno. */
export const oncePerRuntimeInCi = { skip: under === "bun" };

export interface PicoclawOptions {
  /** Its PICOCLAW_HOME. */
  readonly home: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string | Uint8Array;
  readonly cwd?: string;
  /** Nothing is read from stdout before `resume`. */
  readonly paused?: boolean;
  /** Closes stdout after so many lines, as `head` does. */
  readonly readLines?: number;
  /** The file that stdout goes to. */
  readonly output?: string;
  /** Standard input stays open for what is written later. */
  readonly typed?: true;
  /** A file that runs in the process before the program does. */
  readonly preload?: string;
  /** A command that becomes the program. */
  readonly within?: readonly string[];
}

export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running extends AsyncDisposable {
  readonly pid: number;
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Under Deno a second `child.kill` does nothing. */
  readonly kill: (signal: "SIGINT" | "SIGTERM" | "SIGKILL" | "SIGSTOP" | "SIGCONT") => void;
  readonly resume: () => void;
  /** Types, where `typed` was asked for. */
  readonly type: (text: string) => void;
  /** Waits until stderr or stdout holds these words. */
  said(words: string | RegExp): Promise<void>;
  readonly ended: Promise<Ended>;
}

/** A real process of the program under test; killed when disposed. */
export function startPicoclaw(args: readonly string[], options: PicoclawOptions): Running {
  const [program = "", ...first] = COMMANDS[process.env["PICOCLAW_UNDER_TEST"] ?? "bun"] ?? [];
  if (!existsSync(program)) throw new Error(`${program} is missing: npm run build`);
  const { preload } = options;
  if (preload === undefined) return started(program, [...first, ...args], options);
  // A compiled program takes it from the environment, a runtime before the program's own file.
  if (first.length === 0) {
    const env = { ...options.env, BUN_OPTIONS: `--preload ${preload}` };
    return started(program, args, { ...options, env });
  }
  const words = [...first.slice(0, -1), "--preload", preload, main, ...args];
  return started(program, words, options);
}

/** The same on a terminal of its own, where stdout and stderr are one. */
export function startOnTerminal(args: readonly string[], options: PicoclawOptions): Running {
  return onTerminal(commandLine(args), options);
}

/** A shell on a terminal of so many columns, in which commands can be typed, suspended and continued. */
export function startShell(columns: number, options: PicoclawOptions): Running {
  return onTerminal(`stty cols ${columns} rows 24; PS1='$ ' exec bash --norc -i`, options);
}

/** What to type in a shell to run the program. */
export function commandLine(args: readonly string[]): string {
  const words = COMMANDS[process.env["PICOCLAW_UNDER_TEST"] ?? "bun"] ?? [];
  return [...words, ...args].map((word) => quoted(word)).join(" ");
}

function onTerminal(line: string, options: PicoclawOptions): Running {
  return started("script", ["-qefc", line, "/dev/null"], { ...options, typed: true });
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** A shell on a terminal of its own, in the program's home. `"$@"` in the line is the program under test. */
export function startShellOnTerminal(line: string, options: PicoclawOptions): Running {
  const words = COMMANDS[process.env["PICOCLAW_UNDER_TEST"] ?? "bun"] ?? [];
  const command = `set -- ${words.map((word) => quoted(word)).join(" ")}; ${line}`;
  const settings = { ...options, cwd: options.home, typed: true } as const;
  return started("script", ["-qefc", command, "/dev/null"], settings);
}

/** Any other real client: mosquitto_pub, mosquitto_sub, python3. */
export function startClient(program: string, args: readonly string[], input?: string): Running {
  return started(program, args, { home: "", ...(input !== undefined && { input }) });
}

function started(program: string, args: readonly string[], options: PicoclawOptions): Running {
  const child = spawned(program, args, options);
  let stdout = "";
  let stderr = "";
  const { paused = false, readLines = Number.POSITIVE_INFINITY } = options;
  const resume = (): void => {
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
      if (stdout.split("\n").length > readLines) child.stdout?.destroy();
    });
  };
  if (!paused) resume();
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  child.stdin?.on("error", () => {});
  if (!options.typed) child.stdin?.end(options.input);
  const ended = new Promise<Ended>((resolve) => {
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
  const kill = killing(child);
  return {
    pid: child.pid ?? 0,
    kill,
    resume,
    type: (text) => void child.stdin?.write(text),
    stdout: () => stdout,
    stderr: () => stderr,
    said: (words) =>
      until(`${args.join(" ")} says ${words}: ${stderr}`, () =>
        typeof words === "string"
          ? (stdout + stderr).includes(words)
          : words.test(stdout) || words.test(stderr),
      ),
    ended,
    async [Symbol.asyncDispose]() {
      kill("SIGKILL");
      await ended;
    },
  };
}

function spawned(program: string, args: readonly string[], options: PicoclawOptions): ChildProcess {
  const { PATH = "", HOME = "" } = process.env;
  const { input, typed, output } = options;
  const own = { PATH, HOME, PICOCLAW_HOME: options.home, PICOCLAW_GATEWAY_PORT: "0" };
  const stdout = output === undefined ? "pipe" : openSync(output, "w");
  const [command = "", ...words] = [...(options.within ?? []), program, ...args];
  const child = spawn(command, words, {
    env: { ...own, ...options.env },
    ...(options.cwd !== undefined && { cwd: options.cwd }),
    stdio: [input === undefined && !typed ? "ignore" : "pipe", stdout, "pipe"],
  });
  if (typeof stdout === "number") closeSync(stdout);
  return child;
}

function killing(child: ChildProcess): Running["kill"] {
  return (signal) => {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      process.kill(child.pid, signal);
    }
  };
}

/** Runs to the end. */
export async function picoclaw(args: readonly string[], options: PicoclawOptions): Promise<Ended> {
  await using running = startPicoclaw(args, options);
  return await running.ended;
}

/** Writes config.json of a home. */
export async function writeConfig(home: string, config: unknown): Promise<void> {
  await mkdir(home, { recursive: true });
  await writeFile(join(home, "config.json"), JSON.stringify(config, null, 2));
}

/** A home of its own, with its config.json, until it is disposed. */
export async function temporaryHome(config: unknown): ReturnType<typeof temporaryFolder> {
  const home = await temporaryFolder();
  await writeConfig(home.path, config);
  return home;
}

/** The configuration of the quick start, with further settings. */
export function quickConfig(broker: string, settings: object = {}, more: object = {}): object {
  return {
    channel_list: {
      mqtt: {
        enabled: true,
        type: "mqtt",
        settings: { broker, agent_id: "assistant", ...settings },
      },
    },
    ...more,
  };
}

/** Of a channel that limits nothing. */
export const NO_LIMITS = { requests_per_minute: 0, burst: 0, queued: 0 };

/** The same at QoS 1 with a model at that base, which only answers: there are neither limits nor summaries. */
export function modelConfig(
  broker: string,
  api_base: string,
  { workspace, ...more }: { readonly workspace?: string; readonly gateway?: object } = {},
): object {
  const defaults = {
    ...(workspace !== undefined && { workspace }),
    model_name: "m",
    summarize_message_threshold: 0,
    summarize_token_percent: 0,
  };
  const entry = { model_name: "m", model: "openai/m", api_base, api_keys: ["sk-key"] };
  const settings = { qos: 1, limits: NO_LIMITS };
  return quickConfig(broker, settings, { agents: { defaults }, model_list: [entry], ...more });
}

/** A gateway that is connected and subscribed. */
export async function startGateway(
  options: PicoclawOptions,
  args: readonly string[] = [],
): Promise<Running> {
  const gateway = startPicoclaw(["gateway", ...args], options);
  await gateway.said('"msg":"connected"').catch(async (error: unknown) => {
    await gateway[Symbol.asyncDispose]();
    throw error;
  });
  return gateway;
}
