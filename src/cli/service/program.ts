import { execFile } from "node:child_process";
import { codeOf } from "../../base/failure.ts";

export interface Ran {
  /** The exit code; 127 if there is no such program, or it did not end in time. */
  readonly code: number;
  readonly stdout: string;
  /** The last line of what it says is wrong. */
  readonly error: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** What programs of systemd need of the environment. */
const PASSED = ["PATH", "HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "NOTIFY_SOCKET"];

const LONGEST_MS = 60_000;

/** Runs a program to its end, for so many milliseconds at the most. Does not reject. */
export function runProgram(
  words: readonly string[],
  env: Environment,
  milliseconds = LONGEST_MS,
): Promise<Ran> {
  const [program = "", ...args] = words;
  const options = { env: programEnv(env), timeout: milliseconds };
  return new Promise((resolve) => {
    execFile(program, args, options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : 127;
      const said = stderr.trim().split("\n").at(-1) || (error === null ? "" : codeOf(error));
      resolve({ code, stdout, error: said });
    });
  });
}

/** The environment of a program of systemd. */
export function programEnv(env: Environment): Readonly<Record<string, string>> {
  const passed = PASSED.flatMap((name) => (env[name] ? [[name, env[name]] as const] : []));
  return { ...Object.fromEntries(passed), LC_ALL: "C" };
}
