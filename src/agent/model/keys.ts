import type { ErrorClass } from "./errors.ts";

/** How long a key or an endpoint is avoided after an error. In memory only. */
export interface Cooldown {
  /** By the clock of its maker; in the past without a cooldown. */
  readonly endsAt: () => number;
  /** `retryAfter`: seconds that the provider asked to wait. */
  readonly failed: (how: ErrorClass, retryAfter?: number) => void;
  readonly succeeded: () => void;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** Milliseconds after the first failure in a row, the second, and so on; the last value repeats. */
const SHORT = [MINUTE, 5 * MINUTE, 25 * MINUTE, HOUR];
const LONG = [5 * HOUR, 10 * HOUR, 20 * HOUR, 24 * HOUR];

const STEPS: Readonly<Record<ErrorClass, readonly number[]>> = {
  passing: SHORT,
  rate_limit: SHORT,
  auth: LONG,
  billing: LONG,
  absent: SHORT,
  final: [],
};

/** The upper bound of a provider's own wish. */
const LONGEST = 24 * HOUR;

/**
 * Failures in a row lengthen the cooldown. Failures of one outage count once: a failure during the cooldown
 * does not count.
 */
export function createCooldown(now: () => number): Cooldown {
  let [endsAt, failures]: [number, number] = [Number.NEGATIVE_INFINITY, 0];
  let steps: readonly number[] = [];
  return {
    endsAt: () => endsAt,
    failed(how, retryAfter = 0) {
      const found = STEPS[how];
      if (found.length === 0) return;
      const isSame = found === steps;
      const isKnown = isSame && now() < endsAt;
      if (!isKnown) failures = isSame ? failures + 1 : 1;
      steps = found;
      const step = isKnown ? 0 : (found[Math.min(failures, found.length) - 1] ?? 0);
      const wanted = Math.min(retryAfter * 1000, LONGEST);
      endsAt = Math.max(endsAt, now() + Math.max(step, wanted));
    },
    succeeded() {
      [endsAt, failures] = [Number.NEGATIVE_INFINITY, 0];
    },
  };
}

/** An API key; undefined if the server needs none. */
export type Key = string | undefined;

/** The keys of one endpoint: each call begins with the next key; failed keys cool down. */
interface Keyring {
  /**
   * The keys to try now, in order, at least one: those without a cooldown. As a last resort, or if all cool
   * down, also the others, by the end of their cooldown.
   */
  readonly order: (isLastResort: boolean) => readonly Key[];
  readonly failed: (key: Key, how: ErrorClass, retryAfter?: number) => void;
  readonly succeeded: (key: Key) => void;
  /** Ends all cooldowns. */
  readonly clearCooldowns: () => void;
  /** The end of the first cooldown; in the past if a key can be used now. */
  readonly endsAt: () => number;
}

export function createKeyring(keys: readonly string[], now: () => number): Keyring {
  const all: readonly Key[] = keys.length === 0 ? [undefined] : [...new Set(keys)];
  const cooldowns = new Map(all.map((key) => [key, createCooldown(now)]));
  const endOf = (key: Key): number => cooldowns.get(key)?.endsAt() ?? 0;
  let next = 0;
  return {
    order(isLastResort) {
      const rotated = [...all.slice(next), ...all.slice(0, next)];
      next = (next + 1) % all.length;
      const ready = rotated.filter((key) => endOf(key) <= now());
      if (ready.length > 0 && !isLastResort) return ready;
      const cooling = rotated.filter((key) => endOf(key) > now());
      return [...ready, ...cooling.toSorted((left, right) => endOf(left) - endOf(right))];
    },
    failed: (key, how, retryAfter) => cooldowns.get(key)?.failed(how, retryAfter),
    succeeded: (key) => cooldowns.get(key)?.succeeded(),
    clearCooldowns: () => cooldowns.forEach((cooldown) => cooldown.succeeded()),
    endsAt: () => Math.min(...all.map(endOf)),
  };
}
