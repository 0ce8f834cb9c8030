import { asFailure, Failure, isWireCode } from "../base/failure.ts";
import type { WireCode } from "../base/failure.ts";

/** What the gateway itself says to a device, for a person to read. */
const SENTENCES = {
  forbidden: "this client may not ask here",
  rate_limited: "too many requests, please wait",
  budget: "today's budget is used up, please ask again tomorrow",
  busy: "too many requests are waiting, please ask again later",
  expired: "the request came too late to be answered",
  timeout: "the answer took too long and was given up",
  cancelled: "the request was stopped",
} as const satisfies Partial<Record<WireCode, string>>;

type Own = keyof typeof SENTENCES;

/** A failure of the gateway's own making; `retryAfter` in seconds. */
export function failureOf(code: Own, retryAfter?: number): Failure {
  return new Failure(code, SENTENCES[code], retryAfter === undefined ? {} : { retryAfter });
}

/** Shutdown while a request waits or runs, and for requests that come while it goes on. */
export function shuttingDown(code: "cancelled" | "busy", retryAfter?: number): Failure {
  const facts = retryAfter === undefined ? {} : { retryAfter };
  return new Failure(code, "the agent is shutting down", facts);
}

/** What a device may hear of anything thrown: a code of the wire, a sentence, and none of the facts. */
export function wireFailureOf(thrown: unknown): Failure {
  const { code, message, retryAfter } = asFailure(thrown);
  return new Failure(
    isWireCode(code) ? code : "internal",
    message,
    retryAfter === undefined ? {} : { retryAfter },
  );
}
