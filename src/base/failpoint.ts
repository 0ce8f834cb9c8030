import { killNow, variable } from "./host.ts";

/** The moments of a request's life at which a test may let the process die, in their order. */
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
  | "condensed";

/** Set by `scripts/build.ts --faults` alone: in every other build what follows is no code at all. */
declare const PICOCLAW_FAULTS: boolean | undefined;

let passed = 0;

/**
 * Dies here, as by kill -9, where a test build is told to: `PICOCLAW_FAIL_AT=answered:3` ends the process
 * the third time that it passes the point `answered`.
 */
export function failpoint(point: Failpoint): void {
  if (typeof PICOCLAW_FAULTS === "undefined" || !PICOCLAW_FAULTS) return;
  const [name, times = "1"] = (variable("PICOCLAW_FAIL_AT") ?? "").split(":");
  if (name !== point) return;
  passed += 1;
  if (passed >= Number(times)) killNow();
}
