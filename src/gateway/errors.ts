import { asFailure, Failure, isWireCode } from "../base/failure.ts";
import type { WireCode } from "../base/failure.ts";
import type { StoredFailure } from "../store/contract/store.ts";

/** The gateway's own error sentences on the wire, for a person to read. */
const SENTENCES = {
  forbidden: "this client is not allowed to ask here",
  rate_limited: "too many requests, please wait",
  budget: "today's budget is used up, please ask again tomorrow",
  busy: "too many requests are waiting, please ask again later",
  expired: "the request came too late to be answered",
  timeout: "the answer took too long and was stopped",
  cancelled: "the request was stopped",
} as const satisfies Partial<Record<WireCode, string>>;

type Own = keyof typeof SENTENCES;

/** A failure of the gateway itself; `retryAfter` in seconds. */
export function failureOf(code: Own, retryAfter?: number): Failure {
  return new Failure(code, SENTENCES[code], { retryAfter });
}

/** The queue is full; `runs` names what runs, for the person who waits. */
export function queueFull(runs: string, retryAfter: number): Failure {
  return new Failure("busy", `${SENTENCES.busy}: ${runs}`, { retryAfter });
}

/** For requests that wait, run or arrive during a shutdown. */
export function shuttingDown(code: "cancelled" | "busy", retryAfter?: number): Failure {
  return new Failure(code, "the agent is shutting down", { retryAfter });
}

/** What a client may learn of a thrown value: an error code of the wire and a sentence, no other facts. */
export function wireFailureOf(thrown: unknown): Failure {
  return wireFailure(asFailure(thrown));
}

/** The failure of an answer, from what the wire and the store hold of it. */
export function wireFailure({ code, message, retryAfter }: StoredFailure): Failure {
  return new Failure(isWireCode(code) ? code : "internal", message, { retryAfter });
}
