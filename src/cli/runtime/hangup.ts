import { asFailure, Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { Context } from "../context.ts";
import type { Runtime } from "./runtime.ts";

export interface Hangups {
  /** The command's own signal, aborted also when the terminal is closed. */
  readonly signal: AbortSignal;
  /** This one is reloaded by the next SIGHUP, and now if there was one before. Undefined: the one to come is. */
  reloads(runtime: Pick<Runtime, "reload"> | undefined): void;
  release(): void;
}

/** A SIGHUP reloads the configuration. One that comes because the terminal is closed ends the gateway as SIGTERM does. */
export function listenForHangups({ host, signal }: Context, log: Log): Hangups {
  const closed = new AbortController();
  let serving: Pick<Runtime, "reload"> | undefined;
  let isWaiting = false;
  const reload = (): void => {
    isWaiting = serving === undefined;
    serving?.reload().catch((thrown: unknown) => logFailure(asFailure(thrown), log));
  };
  const release = host.onHangup((isTerminalClosed) => {
    if (isTerminalClosed) {
      log.info("the terminal was closed");
      closed.abort(new Failure("terminated", "the terminal was closed"));
    } else reload();
  });
  return {
    signal: AbortSignal.any([signal, closed.signal]),
    reloads(runtime) {
      serving = runtime;
      if (isWaiting) reload();
    },
    release,
  };
}

function logFailure({ message, why, remedy }: Failure, log: Log): void {
  log.error("could not reload: the former configuration stays in use", {
    error: message,
    why,
    try: remedy,
  });
}
