/** Names of what is not in the store as it is by now. */
export interface Pending {
  /** It changed; `limited` says whether a limit hangs on that: what none does may wait. */
  readonly changed: (name: string, limited: boolean) => void;
  /** It is no more; where the store never had it, there is nothing to do. */
  readonly forgotten: (name: string) => void;
  /** The store has it. */
  readonly isKept: (name: string) => void;
  /** It is the store's alone from now on. */
  readonly left: (name: string) => void;
  readonly isPending: (name: string) => boolean;
  /** The names to write, all of them or those that cannot wait with little else; none is pending then. */
  readonly take: (which: "all" | "limited") => readonly string[];
  readonly has: (which: "all" | "limited") => boolean;
}

/** Of what may wait, so much goes along with what may not. */
const FEW = 8;

export function createPending(): Pending {
  const urgent = new Set<string>();
  const patient = new Set<string>();
  const kept = new Set<string>();
  return {
    changed: (name, limited) => void (limited ? urgent : patient).add(name),
    forgotten(name) {
      patient.delete(name);
      // With the next write, so that the store has no more of them than there are.
      if (kept.delete(name)) urgent.add(name);
      else urgent.delete(name);
    },
    isKept: (name) => void kept.add(name),
    left: (name) => void kept.delete(name),
    isPending: (name) => urgent.has(name) || patient.has(name),
    take(which) {
      const isAll = which === "all" || patient.size <= FEW;
      const names = [...new Set([...urgent, ...(isAll ? patient : [])])];
      urgent.clear();
      for (const name of names) patient.delete(name);
      return names;
    },
    has: (which) => urgent.size > 0 || (which === "all" && patient.size > 0),
  };
}
