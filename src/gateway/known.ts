import { Failure, isWireCode } from "../base/failure.ts";
import type { StoredAnswer, StoredFailure } from "../store/contract.ts";
import type { Clock } from "./clock.ts";
import type { Result } from "./dedupe.ts";
import { restoredAnswer } from "./parts.ts";
import type { Answer } from "./parts.ts";

/** What is kept of a request as long as it may be asked again: no more than its answer needs. */
export interface Known {
  readonly answer: Answer;
  /** Where the answer goes while it is under way. */
  readonly addresses: Set<string>;
  /** Resolves when the request is as durable as it will be: a duplicate may be acknowledged then. */
  readonly stored: Promise<void>;
  /** Set when it ended so. */
  failure: Failure | undefined;
}

/** A request that is being stored: whether it is new, and where its answer is, turns out then. */
export interface Storing {
  readonly address: string;
  /** Resolves when it is stored. */
  readonly stored: Promise<void>;
}

/** What it costs to keep an answer that has ended, and whether it ended well. */
export function weigh({ answer, failure }: Known): Result {
  return { bytes: 2 * answer.length, failed: failure !== undefined };
}

/** An answer that the store kept, as it was given. */
export function restoredKnown({ parts, failure }: StoredAnswer, clock: Clock): Known {
  const failed = failure && storedFailure(failure);
  return {
    answer: restoredAnswer(clock, parts, failed),
    addresses: new Set(),
    stored: Promise.resolve(),
    failure: failed,
  };
}

/** An answer as the store keeps it. */
export function storedAnswerOf(parts: readonly string[], failure?: Failure): StoredAnswer {
  if (failure === undefined) return { parts };
  const { code, message, retryAfter } = failure;
  return {
    parts,
    failure: { code, message, ...(retryAfter !== undefined && { retryAfter }) },
  };
}

function storedFailure({ code, message, retryAfter }: StoredFailure): Failure {
  return new Failure(
    isWireCode(code) ? code : "internal",
    message,
    retryAfter === undefined ? {} : { retryAfter },
  );
}
