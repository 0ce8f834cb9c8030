import type { ModelFault } from "./fault.ts";

/** The keys of one model: each call begins with the next one, and those that were refused come last. */
export interface Keyring {
  /** All keys in the order to try them now; `[undefined]` where there is none to send. */
  order(): (string | undefined)[];
  /** A call with this key failed in a way that concerns the key. */
  refused(key: string | undefined, fault: ModelFault): void;
}

/** A key that was refused for good is still tried again: the provider may have been mended. */
const AWAY_MS = 10 * 60_000;

export function createKeyring(keys: readonly string[], now: () => number): Keyring {
  const awayUntil = new Map<string, number>();
  let next = 0;
  const isAway = (key: string): boolean => (awayUntil.get(key) ?? 0) > now();
  return {
    order() {
      if (keys.length === 0) return [undefined];
      const rotated = [...keys.slice(next), ...keys.slice(0, next)];
      next = (next + 1) % keys.length;
      return [...rotated.filter((key) => !isAway(key)), ...rotated.filter(isAway)];
    },
    refused(key, { status, retryAfter = 0 }) {
      if (key === undefined) return;
      awayUntil.set(key, now() + (status === 429 ? retryAfter * 1000 : AWAY_MS));
    },
  };
}
