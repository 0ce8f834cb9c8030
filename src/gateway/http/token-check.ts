import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { callerOf, MACHINE } from "./local-access.ts";

/** Compares tokens, and counts the wrong ones of each caller. */
export interface TokenCheck {
  /** A digest under a key of this process. */
  readonly digest: (text: string) => Buffer;
  readonly isSame: (left: string, right: string) => boolean;
  /** Whether the caller may show another token now. */
  readonly mayTry: (request: IncomingMessage) => boolean;
  readonly countWrong: (request: IncomingMessage) => void;
}

/** Wrong tokens a minute: of this machine, of each address, and of all addresses together that are too many. */
const WRONG_PER_MINUTE = 10;
const ADDRESSES = 64;
const FURTHER = "further addresses";

export function createTokenCheck(now: () => number): TokenCheck {
  const key = randomBytes(32);
  const digest = (text: string): Buffer => createHmac("sha256", key).update(text).digest();
  /** The times of wrong tokens in the last minute. */
  const wrong = new Map<string, readonly number[]>();
  /** Where the wrong tokens of a caller are counted. */
  const counterOf = (request: IncomingMessage): string => {
    for (const [caller, times] of wrong) {
      const recent = times.filter((at) => now() - at < 60_000);
      if (recent.length === 0) wrong.delete(caller);
      else wrong.set(caller, recent);
    }
    const caller = callerOf(request);
    const isCounted = wrong.has(caller) || wrong.size < ADDRESSES || caller === MACHINE;
    return isCounted ? caller : FURTHER;
  };
  return {
    digest,
    isSame: (left, right) => timingSafeEqual(digest(left), digest(right)),
    mayTry: (request) => (wrong.get(counterOf(request)) ?? []).length < WRONG_PER_MINUTE,
    countWrong(request) {
      const counter = counterOf(request);
      wrong.set(counter, [...(wrong.get(counter) ?? []), now()]);
    },
  };
}

/** The token that a request shows (RFC 6750, section 2.1). */
export function bearerOf({ headers: { authorization = "" } }: IncomingMessage): string | undefined {
  return /^Bearer +(.{1,512})$/i.exec(authorization)?.[1];
}
