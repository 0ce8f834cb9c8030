import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { createSerialQueue } from "../../base/async.ts";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { Device } from "./contract.ts";
import { createRing } from "./ring.ts";
import type { Measured, Ring } from "./ring.ts";
import { createSampler } from "./sample.ts";
import type { SampledFact } from "./sample.ts";

/** What the device was like in the last two days, a sample a minute. */
export interface DeviceHistory {
  /** What was measured between two times (milliseconds since the epoch), oldest first; gaps are left out. */
  readonly between: (fact: SampledFact, from: number, to: number) => readonly Measured[];
  /** Takes a sample now, as its timer does each minute. */
  readonly take: () => Promise<void>;
  /** Ends the timer and writes what there is. */
  close(): Promise<void>;
}

export interface DeviceHistoryOptions {
  readonly device: Device;
  /** Where it outlives the process; in memory alone where it is left out. */
  readonly file?: string;
  readonly log: Log;
}

export const MINUTE_MS = 60_000;
/** Samples between two writes: what a power cut can cost, against what an SD card wears. */
const WRITE_EVERY = 15;

/** Begins to take samples; its timer keeps no process alive. A file that cannot be read is begun anew. */
export async function openDeviceHistory(options: DeviceHistoryOptions): Promise<DeviceHistory> {
  const { device, file, log } = options;
  const ring = (await readRing(options)) ?? createRing();
  const sample = createSampler(device);
  let taking: Promise<void> | undefined;
  let unwritten = 0;
  let isClosed = false;
  const inTurn = createSerialQueue();

  const writeOnce = async (): Promise<void> => {
    if (file === undefined || unwritten === 0) return;
    unwritten = 0;
    await writeWhole(file, ring).catch((thrown: unknown) => {
      log.warn("the device's history cannot be written", { file, why: asFailure(thrown).why });
    });
  };
  /** One after the other: two at once would write into the same file. */
  const write = (): Promise<void> => inTurn(writeOnce);
  const takeOne = async (): Promise<void> => {
    const measured = await sample();
    if (isClosed) return;
    ring.add(minuteOf(device.now().getTime()), measured);
    unwritten += 1;
    if (unwritten >= WRITE_EVERY) await write();
  };
  const take = (): Promise<void> => {
    // A sensor that hangs must not pile up samples.
    taking ??= takeOne().finally(() => {
      taking = undefined;
    });
    return taking;
  };
  void take();
  const timer = setInterval(() => void take(), MINUTE_MS);
  timer.unref();
  return {
    take,
    between: (fact, from, to) => ring.between(fact, minuteOf(from), minuteOf(to) + 1),
    async close() {
      clearInterval(timer);
      isClosed = true;
      await write();
    },
  };
}

function minuteOf(milliseconds: number): number {
  return Math.max(0, Math.floor(milliseconds / MINUTE_MS));
}

async function readRing({ file, log }: DeviceHistoryOptions): Promise<Ring | undefined> {
  if (file === undefined) return undefined;
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch {
    return undefined;
  }
  const ring = createRing(bytes);
  if (ring === undefined) log.warn("the device's history is unreadable and begins anew", { file });
  return ring;
}

/** All or nothing: a power cut leaves the old file or the new one. */
async function writeWhole(file: string, ring: Ring): Promise<void> {
  const beside = `${file}.new`;
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  try {
    const handle = await open(beside, "w", 0o600);
    try {
      await handle.writeFile(ring.bytes());
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(beside, file);
  } catch (error) {
    await rm(beside, { force: true });
    throw error;
  }
}
