/** How long turns take lately, to say to whom there was no room when there may be. */
export interface Pace {
  add(turnMs: number): void;
  /** Seconds, at least 1, until each of so many clients had a turn. */
  secondsFor(clients: number): number;
}

/** Before the first turn was seen. */
const FIRST_GUESS_MS = 2000;
/** How much one turn weighs against all before it. */
const WEIGHT = 0.2;
const LONGEST_SECONDS = 600;

export function createPace(slots: number): Pace {
  let averageMs = FIRST_GUESS_MS;
  return {
    add(turnMs) {
      averageMs += (turnMs - averageMs) * WEIGHT;
    },
    secondsFor(clients) {
      const seconds = Math.ceil(((averageMs / 1000) * Math.max(clients, slots)) / slots);
      return Math.min(Math.max(seconds, 1), LONGEST_SECONDS);
    },
  };
}
