import type { Host } from "../base/host.ts";
import { createLog, type Log } from "../base/log.ts";
import type { Redactor } from "../base/redaction/redactor.ts";
import type { Flags } from "./args/flags.ts";
import { isColoured } from "./terminal/colour.ts";

/** The input of a command: its checked arguments and flags, and its host. */
export interface Context {
  readonly host: Host;
  /** The positional arguments, exactly as typed. */
  readonly words: readonly string[];
  readonly flags: Flags;
  /** Aborted when the command should end; the reason is the `Failure` to end with. */
  readonly signal: AbortSignal;
  /** Calls back in place of that at the next Ctrl-C, until the returned function is called. */
  readonly onNextInterrupt: (run: () => void) => () => void;
  /** Applied to all output. Every loaded configuration adds its secrets. */
  readonly redactor: Redactor;
}

/** Runs a command and resolves with its exit code. The caller reports a `Failure` that it throws. */
export type Run = (context: Context) => Promise<number>;

/** The log of a short-lived command: warnings, and with --debug everything. */
export function createCommandLog(
  { host, flags, redactor }: Pick<Context, "host" | "flags" | "redactor">,
  stderr = host.stderr,
): Promise<Log> {
  const { env } = host;
  return createLog({
    level: flags.has("debug") ? "debug" : "warn",
    output: stderr,
    format: "text",
    colour: isColoured(stderr, env, flags),
    redactor,
  });
}
