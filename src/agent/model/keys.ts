import type { ErrorClass } from "./errors.ts";

/** How long something that failed is not asked while something else can be; kept in memory only. */
export interface Cooldown {
  /** By the clock it was made with; in the past where nothing cools down. */
  readonly endsAt: () => number;
  /** `retryAfter`: seconds that the provider asked to wait. */
  readonly failed: (how: ErrorClass, retryAfter?: number) => void;
  readonly succeeded: () => void;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** Milliseconds after the first failure, the second … in a row; the last holds for all later ones. */
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

/** Whatever a provider asks for. */
const LONGEST = 24 * HOUR;

/**
 * Failures in a row lengthen it; those of one outage count once, however many turns or tries met it:
 * a failure while it cools down already is no further one.
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

/** A key as it is sent; undefined where the server wants none. */
export type Key = string | undefined;

/** The keys of one endpoint: each question begins with the next one, and those that failed rest. */
interface Keyring {
  /**
   * The keys to try now, in order, never none: those that do not cool down; as a last resort, or
   * where all do, also the others, the one first whose cooldown ends first.
   */
  readonly order: (isLastResort: boolean) => readonly Key[];
  readonly failed: (key: Key, how: ErrorClass, retryAfter?: number) => void;
  readonly succeeded: (key: Key) => void;
  /** No key cools down any more. */
  readonly clearCooldowns: () => void;
  /** When the first key can be asked again; in the past where one can be now. */
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
