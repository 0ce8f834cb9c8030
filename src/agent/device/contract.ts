/** The device this program runs on, as its facts are read. */
export interface Device {
  /** Under which `proc`, `sys` and `etc` lie: `/`, but in tests. */
  readonly root: string;
  /** Absolute path; its disk is told of too. */
  readonly workspace: string;
  readonly now: () => Date;
  /** Waits between the two samples of a measurement; rejects with the signal's reason. */
  readonly pause: (milliseconds: number, signal: AbortSignal) => Promise<void>;
}

/** Reads one fact: one sentence with its measured values. Throws where this device does not tell. */
export type ReadFact = (device: Device, signal: AbortSignal) => Promise<string>;

/** Milliseconds between the two samples of a measurement: 25 ticks of a kernel that counts 100 a second. */
export const SAMPLE_MS = 250;
