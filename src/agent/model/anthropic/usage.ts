import type { Usage } from "../../../base/contract.ts";
import { at } from "../../../base/unknown.ts";
import { countOf } from "../http/answer.ts";

/** Adds up what the events of a message tell of its tokens. */
export interface UsageCount {
  take(usage: unknown): void;
  /** Undefined where nothing was told. */
  total(): Usage | undefined;
}

/** What is read from a cache, or written to one, is no part of `input_tokens` and was read all the same. */
const INPUT = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"];

/** Each event tells the totals so far, of some fields at a time. */
export function createUsageCount(): UsageCount {
  const counts = new Map<string, number>();
  return {
    take(usage) {
      for (const field of [...INPUT, "output_tokens"]) {
        const count = at(usage, field);
        if (typeof count === "number") {
          counts.set(field, Math.max(counts.get(field) ?? 0, countOf(count)));
        }
      }
    },
    total() {
      if (counts.size === 0) return undefined;
      const inputTokens = INPUT.reduce((sum, field) => sum + (counts.get(field) ?? 0), 0);
      return { inputTokens, outputTokens: counts.get("output_tokens") ?? 0 };
    },
  };
}
