import { Failure } from "../base/failure.ts";
import type { Host, StopSignal } from "../base/host.ts";
import { exitCodeOf } from "./exit.ts";

export interface Stop {
  /** Aborted by the first SIGINT or SIGTERM, with the `Failure`, and when stdout's reader has gone. */
  readonly signal: AbortSignal;
  /** Gives the signals back to the runtime. */
  release(): void;
}

/** Turns signals into an abort: the first lets a command wind down, the second ends at once. */
export function listenForStop(host: Pick<Host, "onSignal" | "exitNow" | "stdout">): Stop {
  const controller = new AbortController();
  let signalled = false;
  const release = host.onSignal((name) => {
    const failure = failureOf(name);
    if (signalled) host.exitNow(exitCodeOf(failure));
    signalled = true;
    controller.abort(failure);
  });
  const gone = () => controller.abort(new Failure("interrupted", "nobody reads the output"));
  host.stdout.closed.addEventListener("abort", gone);
  return {
    signal: controller.signal,
    release() {
      release();
      host.stdout.closed.removeEventListener("abort", gone);
    },
  };
}

function failureOf(signal: StopSignal): Failure {
  return signal === "SIGINT"
    ? new Failure("interrupted", "interrupted")
    : new Failure("terminated", "terminated");
}
