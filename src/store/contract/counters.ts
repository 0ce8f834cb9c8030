/**
 * Counters by name. One that counts until some time is dropped a day after it. If there are more of those
 * than the bound, the ones that stop to count soonest are dropped before.
 */
export interface CounterStore {
  /** The counters as they were written last, in no order: all, or `most` of them. */
  counters(most?: number): Promise<readonly Counter[]>;
  /** One of them; undefined if there is none of that name. */
  counter(name: string): Promise<Counter | undefined>;
  /**
   * Writes the result of `take`; returns the counters of `put`, in its order, with what all writers added.
   * `take` runs when the transaction starts, so that changes made before that are written once; it must not
   * throw. Calls made in one go share a transaction, or the earlier ones are written before the later ones. If
   * this rejects with `busy`, nothing that was taken is written.
   */
  count(take: () => CounterChanges): Promise<readonly Counter[]>;
  /**
   * The clock by which the days of the counters begin; only a store that several machines share has it. Then
   * others write the counters, too, and `drop` is not for them.
   */
  readonly clock?: () => Promise<StoreClock>;
}

export interface StoreClock {
  /** Milliseconds since the epoch. */
  readonly epoch: number;
  /** Of its time zone, to be added to `epoch`. */
  readonly utcOffsetMs: number;
}

export interface Counter {
  readonly name: string;
  /** Plain data. The store adds up what is under `days`, a list of `DayCount`; all else only the writers read. */
  readonly state: unknown;
  /** Milliseconds since the epoch after which it counts for nothing; absent is never. */
  readonly until?: number;
}

export interface CounterChanges {
  readonly put: readonly CounterChange[];
  /** Names to delete. */
  readonly drop: readonly string[];
}

/** A change of one counter by one of its writers. */
export interface CounterChange {
  readonly name: string;
  /**
   * Its fields replace those of the stored state, `days` too, and leave the others; what is no object replaces
   * all of it.
   */
  readonly state: unknown;
  /** Added to the days of the state: other writers add to them, too. */
  readonly add?: readonly DayCount[];
  /** Replaces an earlier time, and never. Absent is never. */
  readonly until?: number;
}

/** What is counted on one day; in a `CounterChange` the numbers may be negative. */
export interface DayCount {
  /** A calendar day as a growing number: 20261125. */
  readonly day: number;
  /** Accepted requests. */
  readonly requests: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly cost: number;
  /** Rejected requests by error code. */
  readonly refused: Readonly<Record<string, number>>;
}
