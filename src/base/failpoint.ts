import { killNow, variable } from "./host.ts";

/** The points in the life of a request at which a test can kill the process, in order. */
export type Failpoint =
  | "received"
  | "accepted"
  | "acknowledged"
  | "adopted"
  | "begun"
  | "streaming"
  | "tool_ran"
  | "tool_stored"
  | "turned"
  | "answered"
  | "published"
  | "delivered"
  | "condensed"
  | "job_claimed"
  | "job_ran"
  | "job_pushed"
  | "watch_stored"
  | "call_confirmed"
  | "call_begun";

/** Set only by `scripts/build.ts --faults`; in every other build `failpoint` compiles to nothing. */
declare const PICOCLAW_FAULTS: boolean | undefined;

let passed = 0;

/**
 * Kills the process here, as kill -9 does, if a test build is configured so: `PICOCLAW_FAIL_AT=answered:3`
 * kills it when it passes the point `answered` for the third time.
 */
export function failpoint(point: Failpoint): void {
  if (typeof PICOCLAW_FAULTS === "undefined" || !PICOCLAW_FAULTS) return;
  const [name, times = "1"] = (variable("PICOCLAW_FAIL_AT") ?? "").split(":");
  if (name !== point) return;
  passed += 1;
  if (passed >= Number(times)) killNow();
}
