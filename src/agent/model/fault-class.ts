import { isPassing } from "./fault.ts";
import type { ModelFault } from "./fault.ts";

/** What a fault means for whom to ask next. */
export type FaultClass =
  /** The network or the server, for now: another candidate can help, or the same one later. */
  | "passing"
  /** Asked too often. */
  | "rate_limit"
  /** The key is not accepted. */
  | "auth"
  /** The account is empty. */
  | "billing"
  /** The model is not there (any more), or not under this address: another one can be. */
  | "absent"
  /** The question, or how this agent is set up for it: nobody else is asked in its place. */
  | "final";

/**
 * The class of a fault. Final is whatever is in no other class: a question that one provider calls
 * malformed (400, 422) or too long is wrong everywhere, and what is not understood is not covered up.
 */
export function classOf(fault: ModelFault): FaultClass {
  if (fault.kind === "refused") {
    if (fault.status === 401 || fault.status === 403) return "auth";
    if (fault.status === 402) return "billing";
    if (fault.status === 404 || fault.status === 410) return "absent";
    if (fault.status === 429) return "rate_limit";
  }
  return isPassing(fault) ? "passing" : "final";
}
