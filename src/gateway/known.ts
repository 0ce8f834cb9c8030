import type { Failure } from "../base/failure.ts";
import type { Result } from "./dedupe.ts";
import type { Answer } from "./parts.ts";

/** What is kept of a request as long as it may be asked again: no more than its answer needs. */
export interface Known {
  readonly answer: Answer;
  /** Where the answer goes while it is under way. */
  readonly addresses: Set<string>;
  /** Set when it ended so. */
  failure: Failure | undefined;
}

/** What it costs to keep an answer that has ended, and whether it ended well. */
export function weigh({ answer, failure }: Known): Result {
  return { bytes: 2 * answer.length, failed: failure !== undefined };
}
