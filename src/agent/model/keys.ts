import { createCooldown } from "./cooldown.ts";
import type { FaultClass } from "./fault-class.ts";

/** A key as it is sent; undefined where the server wants none. */
export type Key = string | undefined;

/** The keys of one endpoint: each question begins with the next one, and those that failed rest. */
export interface Keyring {
  /**
   * The keys to try now, in order, never none: those that do not cool down; as a last resort, or
   * where all do, also the others, the one first whose cooldown ends first.
   */
  readonly order: (isLastResort: boolean) => readonly Key[];
  readonly failed: (key: Key, how: FaultClass, retryAfter?: number) => void;
  readonly succeeded: (key: Key) => void;
  /** No key cools down any more. */
  readonly forgive: () => void;
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
    forgive: () => cooldowns.forEach((cooldown) => cooldown.succeeded()),
    endsAt: () => Math.min(...all.map(endOf)),
  };
}
