import type { FailureCode } from "../base/failure.ts";

/** The exit codes and their meaning for scripts; `help exit-codes` prints them. */
export const EXIT_CODES: ReadonlyMap<number, string> = new Map([
  [0, "done"],
  [1, "it ran and failed: the agent answered with an error, or a check failed"],
  [2, "wrong usage: unknown command or flag, missing argument, wrong value"],
  [3, "no answer in time; for listen: fewer messages than --count; for status: no gateway runs"],
  [4, "the broker cannot be reached: DNS, port, TLS or connect timeout; for status: not connected"],
  [
    5,
    "the broker refused the credentials, the access or the subscription; or another gateway serves (gateway.exclusive)",
  ],
  [6, "no gateway serves this agent id"],
  [7, "the answer was cut off after its first part"],
  [78, "the configuration is invalid"],
  [130, "interrupted (Ctrl-C)"],
  [143, "terminated"],
]);

const EXITS: Readonly<Record<FailureCode, number>> = {
  usage: 2,
  config: 78,
  unreachable: 4,
  refused: 5,
  unserved: 6,
  no_answer: 3,
  no_subscriber: 6,
  cut_off: 7,
  failed: 1,
  interrupted: 130,
  terminated: 143,
  unsure: 1,
  fenced: 1,
  bad_request: 1,
  too_large: 1,
  forbidden: 1,
  rate_limited: 1,
  budget: 1,
  busy: 1,
  expired: 1,
  timeout: 1,
  cancelled: 1,
  model: 1,
  internal: 1,
};

/** The exit code for a failure. */
export function exitCodeOf(failure: { readonly code: FailureCode }): number {
  return EXITS[failure.code];
}
