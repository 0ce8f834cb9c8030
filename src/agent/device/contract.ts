/** The device that this program runs on. */
export interface Device {
  /** The folder of `proc`, `sys` and `etc`: `/`, except in tests. */
  readonly root: string;
  /** Absolute path. Its disk is measured too. */
  readonly workspace: string;
  readonly now: () => Date;
  /** Waits between the two samples of a measurement; rejects with the signal's reason. */
  readonly pause: (milliseconds: number, signal: AbortSignal) => Promise<void>;
}

/** Reads one fact as a sentence with its values. Throws if this device does not provide it. */
export type ReadFact = (device: Device, signal: AbortSignal) => Promise<string>;

/** Milliseconds between the two samples of a measurement: 25 ticks of a kernel with 100 a second. */
export const SAMPLE_MS = 250;
