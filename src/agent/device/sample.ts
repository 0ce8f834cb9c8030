import type { Device } from "./contract.ts";
import { cpuTimes, loadAverages } from "./cpu.ts";
import type { CpuTimes } from "./cpu.ts";
import { workspaceDiskShare } from "./disk.ts";
import { memoryShare } from "./memory.ts";
import { mainTemperature } from "./temperature.ts";

/** The facts in the history, in the order of a sample. */
export const SAMPLED = ["cpu", "memory", "temperature", "load", "disk"] as const;

export type SampledFact = (typeof SAMPLED)[number];

/** One sample: percent, percent, degrees Celsius, load, percent; NaN for a fact that the device does not provide. */
export type Sample = Readonly<Record<SampledFact, number>>;

/**
 * Takes samples. The CPU usage is that since the last sample, so nothing waits; the first sample has none.
 * Never throws: a failing sensor is NaN.
 */
export function createSampler(device: Device): () => Promise<Sample> {
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
