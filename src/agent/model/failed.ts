import { Failure } from "../../base/failure.ts";
import type { Candidate, Failed } from "./candidate.ts";
import { cleanWords, ModelFailure, wordsOf } from "./failure.ts";
import { ModelFault } from "./fault.ts";

/** What one candidate failed with. */
export interface FailedCandidate extends Failed {
  readonly candidate: Candidate;
}

/** The failure that is told of `told`, where `others` more candidates failed on the same question. */
export function toldFailure({ candidate, fault }: FailedCandidate, others: number): ModelFailure {
  const { label, secrets, name } = candidate;
  const { message, why, ...words } = wordsOf(fault, label, secrets);
  const cleaned = cleanWords(fault.message, secrets);
  return new ModelFailure(message, {
    ...words,
    kind: fault.kind,
    model: name.name,
    why:
      others === 0 ? why : `${why} (${others} more ${others === 1 ? "was" : "were"} tried in vain)`,
    // A copy: the fault itself holds a stranger's words as they came.
    cause: new ModelFault(fault.kind, cleaned, factsOf(fault)),
  });
}

function factsOf({ status, retryAfter }: ModelFault) {
  return {
    ...(status === undefined ? {} : { status }),
    ...(retryAfter === undefined ? {} : { retryAfter }),
  };
}

/** The fault behind a model's failure; undefined for whatever else was thrown. */
export function modelFaultOf(thrown: unknown): ModelFault | undefined {
  return thrown instanceof Failure && thrown.cause instanceof ModelFault ? thrown.cause : undefined;
}
