import type { Host } from "../base/host.ts";
import { createLog } from "../base/log.ts";
import type { Log } from "../base/log.ts";
import type { Redactor } from "../base/redaction/redactor.ts";
import type { Flags } from "./args/flags.ts";
import { isColoured } from "./colour.ts";

/** What a command is given: its checked words and flags, and the world. */
export interface Context {
  readonly host: Host;
  /** The positional arguments, exactly as they were typed. */
  readonly words: readonly string[];
  readonly flags: Flags;
  /** Aborted when the command is to wind down; the reason is the `Failure` to end with. */
  readonly signal: AbortSignal;
  /** Over all that leaves the process; it learns the secrets of every configuration that is loaded. */
  readonly redactor: Redactor;
}

/** Runs a command and resolves with its exit code; a `Failure` that it throws is reported by the caller. */
export type Run = (context: Context) => Promise<number>;

/** The log of a command that a person waits for: warnings, and with --debug all there is. */
export function createCommandLog({ host, flags, redactor }: Context): Promise<Log> {
  const { stderr, env } = host;
  return createLog({
    level: flags.has("debug") ? "debug" : "warn",
    output: stderr,
    format: "text",
    colour: isColoured(stderr, env, flags),
    redactor,
  });
}
