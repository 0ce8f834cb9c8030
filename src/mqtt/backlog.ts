/** The messages of one channel that were handed over and are not stored yet. Outlives its connections. */
export interface Backlog {
  /** Counts a message with a payload of so many bytes until `stored` settles. */
  add(stored: Promise<void>, bytes: number): void;
  /** Whether no more messages should be read. */
  readonly isFull: () => boolean;
  /** Whether there are twice as many. */
  readonly isOverfull: () => boolean;
  /** `performance.now()` when a message of it was stored last, or when it became full, whichever is later. */
  readonly movedAt: () => number;
  /** Resolves with true as soon as it is less than half full, with false after `ms`. */
  room(ms: number): Promise<boolean>;
}

/** Far more than one group commit of the store takes. */
const MOST_MESSAGES = 512;
const MOST_BYTES = 8_388_608;

export function createBacklog(): Backlog {
  const waiting = new Set<() => void>();
  let messages = 0;
  let bytes = 0;
  let movedAt = 0;
  const isBeyond = (share: number): boolean =>
    messages > MOST_MESSAGES * share || bytes > MOST_BYTES * share;
  const change = (count: number, size: number): void => {
    const wasFull = isBeyond(1);
    messages += count;
    bytes += size;
    if (count < 0 || (!wasFull && isBeyond(1))) movedAt = performance.now();
  };
  return {
    add(stored, size) {
      change(1, size);
      const settled = (): void => {
        change(-1, -size);
        if (waiting.size > 0 && !isBeyond(0.5)) for (const wake of waiting) wake();
      };
      stored.then(settled, settled);
    },
    isFull: () => isBeyond(1),
    isOverfull: () => isBeyond(2),
    movedAt: () => movedAt,
    room(ms) {
      if (!isBeyond(0.5)) return Promise.resolve(true);
      return new Promise((resolve) => {
        const end = (hasRoom: boolean): void => {
          clearTimeout(timer);
          waiting.delete(wake);
          resolve(hasRoom);
        };
        const wake = (): void => end(true);
        const timer = setTimeout(end, ms, false);
        timer.unref();
        waiting.add(wake);
      });
    },
  };
}
