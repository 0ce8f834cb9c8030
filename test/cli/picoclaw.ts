import { spawn } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

const MAIN = join(import.meta.dirname, "../../src/main.ts");
const RUNTIME_ARGS = process.versions["deno"] === undefined ? [] : ["run", "-A", "--no-check"];

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProcessOptions {
  readonly stdin?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  /** Leaves standard input open, and sends this as soon as all of `stdin` was read. */
  readonly signal?: NodeJS.Signals;
  /** Closes our end of stdout after the first line. */
  readonly leaveAfterFirstLine?: boolean;
}

/** Runs the program as a process of the runtime that runs the tests, without a home folder. */
export function picoclaw(args: readonly string[], options: ProcessOptions = {}): Promise<Ended> {
  const child = spawn(process.execPath, [...RUNTIME_ARGS, MAIN, ...args], {
    cwd: tmpdir(),
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: join(tmpdir(), "picoclaw-nobody"),
      DENO_DIR: process.env["DENO_DIR"] ?? join(process.env["HOME"] ?? "", ".cache/deno"),
      ...options.env,
    },
  });
  const output = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output.stdout += text;
    if (options.leaveAfterFirstLine && output.stdout.includes("\n")) child.stdout.destroy();
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output.stderr += text;
  });
  // The program may end without reading what it was given.
  child.stdin.on("error", () => {});
  const { signal, stdin = "" } = options;
  if (signal === undefined) child.stdin.end(stdin);
  else child.stdin.write(stdin, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, ...output }));
  });
}
