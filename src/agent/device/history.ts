import { readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { createSerialQueue } from "../../base/async.ts";
import { messageOf } from "../../base/failure.ts";
import { writeAtomically } from "../../base/file-io.ts";
import type { Log } from "../../base/log.ts";
import type { Device } from "./contract.ts";
import { cpuTimes, loadAverages } from "./cpu.ts";
import type { CpuTimes } from "./cpu.ts";
import { workspaceDiskShare } from "./disk.ts";
import { memoryShare } from "./memory.ts";
import { mainTemperature } from "./temperature.ts";

/** The measurements of the last two days, a sample a minute. */
export interface DeviceHistory {
  /** The values between two times (milliseconds since the epoch), oldest first, without gaps. */
  readonly between: (fact: SampledFact, from: number, to: number) => readonly Measured[];
  /** Takes a sample now, as the timer does each minute. */
  readonly take: () => Promise<void>;
  /** Stops the timer and writes the samples. */
  close(): Promise<void>;
}

export interface DeviceHistoryOptions {
  readonly device: Device;
  /** The file for the samples; default: in memory only. */
  readonly file?: string | undefined;
  readonly log: Log;
}

export const MINUTE_MS = 60_000;
/** Samples between two writes. A power cut loses as many; more writes wear out an SD card. */
const WRITE_EVERY = 15;
/** From the start to the first sample: a start has other things to do. */
const FIRST_MS = 1000;

/** Starts to take samples; the timers do not keep the process alive. Replaces an unreadable file. */
export function openDeviceHistory(options: DeviceHistoryOptions): DeviceHistory {
  const { device, file, log } = options;
  let opened: Ring | undefined;
  /** Read when it is needed first: to check the file takes milliseconds. */
  const ring = (): Ring => {
    opened ??= readRing(options) ?? createRing();
    return opened;
  };
  const sample = createSampler(device);
  let taking: Promise<void> | undefined;
  let unwritten = 0;
  let isClosed = false;
  const inTurn = createSerialQueue();

  const writeOnce = async (): Promise<void> => {
    if (file === undefined || unwritten === 0) return;
    unwritten = 0;
    try {
      await mkdir(dirname(file), { recursive: true, mode: 0o700 });
      await writeAtomically(file, ring().bytes());
    } catch (thrown) {
      log.warn("the device's history cannot be written", { file, why: messageOf(thrown) });
    }
  };
  /** One write after the other: two at once would use the same file. */
  const write = (): Promise<void> => inTurn(writeOnce);
  const takeOne = async (): Promise<void> => {
    const measured = await sample();
    if (isClosed) return;
    ring().add(minuteOf(device.now().getTime()), measured);
    unwritten += 1;
    if (unwritten >= WRITE_EVERY) await write();
  };
  const take = (): Promise<void> => {
    // A hanging sensor must not pile up samples.
    taking ??= takeOne().finally(() => {
      taking = undefined;
    });
    return taking;
  };
  const timers = [
    setTimeout(() => void take(), FIRST_MS),
    setInterval(() => void take(), MINUTE_MS),
  ];
  for (const timer of timers) timer.unref();
  return {
    take,
    between: (fact, from, to) => ring().between(fact, minuteOf(from), minuteOf(to) + 1),
    async close() {
      for (const timer of timers) clearTimeout(timer);
      isClosed = true;
      await write();
    },
  };
}

function minuteOf(milliseconds: number): number {
  return Math.max(0, Math.floor(milliseconds / MINUTE_MS));
}

function readRing({ file, log }: DeviceHistoryOptions): Ring | undefined {
  if (file === undefined) return undefined;
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(file);
  } catch {
    return undefined;
  }
  const ring = createRing(bytes);
  if (ring === undefined) log.warn("the device's history is unreadable and starts over", { file });
  return ring;
}

/** The facts in the history, in the order of a sample. */
export const SAMPLED = ["cpu", "memory", "temperature", "load", "disk"] as const;

export type SampledFact = (typeof SAMPLED)[number];

/** One sample: percent, percent, degrees Celsius, load, percent; NaN for a fact that the device does not provide. */
type Sample = Readonly<Record<SampledFact, number>>;

/**
 * Takes samples. The CPU usage is that since the last sample, so nothing waits; the first sample has none.
 * Never throws: a failing sensor is NaN.
 */
function createSampler(device: Device): () => Promise<Sample> {
  let before: CpuTimes | undefined;
  return async () => {
    const [times, memory, temperature, loads, disk] = await Promise.all([
      orUndefined(cpuTimes(device)),
      orUndefined(memoryShare(device)),
      orUndefined(mainTemperature(device)),
      orUndefined(loadAverages(device)),
      orUndefined(workspaceDiskShare(device)),
    ]);
    const cpu = before === undefined || times === undefined ? undefined : busyShare(before, times);
    before = times;
    return {
      cpu: percent(cpu),
      memory: percent(memory),
      temperature: temperature ?? Number.NaN,
      load: loads?.[0] ?? Number.NaN,
      disk: percent(disk),
    };
  };
}

async function orUndefined<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch {
    return undefined;
  }
}

function busyShare(before: CpuTimes, after: CpuTimes): number | undefined {
  const total = after.total - before.total;
  return total > 0 ? (after.busy - before.busy) / total : undefined;
}

function percent(share: number | undefined): number {
  return share === undefined ? Number.NaN : Math.min(100, Math.max(0, share * 100));
}

/** Samples in the history: one a minute for two days. */
export const HISTORY_MINUTES = 48 * 60;

/** A ring buffer with the samples of the last two days (about 70 KB). */
interface Ring {
  /** Stores the sample of a minute since the epoch; a second one of the same minute replaces it. */
  add(minute: number, sample: Sample): void;
  /** The values from one minute up to another (exclusive), oldest first, without gaps. */
  between(fact: SampledFact, from: number, to: number): readonly Measured[];
  /** The content for a file, which `createRing` reads. */
  bytes(): Uint8Array;
}

export interface Measured {
  /** Minutes since the epoch. */
  readonly minute: number;
  readonly value: number;
}

const MAGIC = 0x50_43_48_32;
/** Magic number, number of columns, and checksum of the rest. */
const HEAD_BYTES = 12;
const BYTES = HEAD_BYTES + HISTORY_MINUTES * 4 * (1 + SAMPLED.length);

/** An empty ring, or one from the `bytes` of another; undefined if they are not valid. */
export function createRing(): Ring;
export function createRing(written: Uint8Array): Ring | undefined;
export function createRing(written?: Uint8Array): Ring | undefined {
  const buffer = new ArrayBuffer(BYTES);
  const head = new Uint32Array(buffer, 0, 3);
  if (written !== undefined) {
    if (written.length !== BYTES) return undefined;
    new Uint8Array(buffer).set(written);
    if (head[0] !== MAGIC || head[1] !== SAMPLED.length || head[2] !== sumOf(buffer)) {
      return undefined;
    }
  }
  head.set([MAGIC, SAMPLED.length]);
  const minutes = new Uint32Array(buffer, HEAD_BYTES, HISTORY_MINUTES);
  const columns = SAMPLED.map((_, column) => {
    const start = HEAD_BYTES + HISTORY_MINUTES * 4 * (1 + column);
    return new Float32Array(buffer, start, HISTORY_MINUTES);
  });
  return {
    add(minute, sample) {
      const slot = minute % HISTORY_MINUTES;
      minutes[slot] = minute;
      for (const [column, fact] of SAMPLED.entries())
        columns[column]?.fill(sample[fact], slot, slot + 1);
    },
    between(fact, from, to) {
      const column = columns[SAMPLED.indexOf(fact)];
      const found: Measured[] = [];
      // A slot is valid for its own minute only. Older samples, and those of a wrong clock, are gaps.
      for (let minute = Math.max(from, to - HISTORY_MINUTES); minute < to; minute += 1) {
        const slot = minute % HISTORY_MINUTES;
        const value = column?.[slot] ?? Number.NaN;
        if (minutes[slot] === minute && Number.isFinite(value)) found.push({ minute, value });
      }
      return found;
    },
    bytes() {
      head[2] = sumOf(buffer);
      return new Uint8Array(buffer).slice();
    },
  };
}

/** FNV-1a over words instead of bytes: any changed word changes the sum. */
function sumOf(buffer: ArrayBuffer): number {
  let sum = 0x81_1c_9d_c5;
  for (const word of new Uint32Array(buffer, HEAD_BYTES))
    sum = Math.imul(sum ^ word, 0x01_00_01_93);
  return sum >>> 0;
}
