import type { Host } from "../base/host.ts";
import { createLog, type Log } from "../base/log.ts";
import { isColoured } from "./colour.ts";
import type { Flags } from "./line/flags.ts";

/** The log of a command that a person waits for: warnings, and with --debug all there is. */
export function createCommandLog(
  { stderr, env }: Pick<Host, "stderr" | "env">,
  flags: Flags,
): Promise<Log> {
  return createLog({
    level: flags.has("debug") ? "debug" : "warn",
    output: stderr,
    format: "text",
    colour: isColoured(stderr, env, flags),
  });
}
