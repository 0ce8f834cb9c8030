import type { Candidate } from "./candidate.ts";

/** Entries of one name take turns. */
export interface Balance {
  /** Who is next, and who after that. */
  readonly ordered: (group: readonly Candidate[]) => Candidate[];
  /** A turn begins with this one, or has moved to it. */
  readonly picked: (candidate: Candidate) => void;
}

/** The one is next whose last turn is the longest ago: with all in order that is one after the other. */
export function createBalance(): Balance {
  const turns = new Map<Candidate, number>();
  let count = 0;
  return {
    ordered: (group) =>
      group.toSorted((left, right) => (turns.get(left) ?? 0) - (turns.get(right) ?? 0)),
    picked(candidate) {
      count += 1;
      turns.set(candidate, count);
    },
  };
}
