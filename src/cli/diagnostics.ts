import { createLog, type Log } from "../base/log.ts";
import { isColoured } from "./colour.ts";
import type { Context } from "./context.ts";

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
