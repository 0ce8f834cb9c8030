import type { Device } from "./contract.ts";
import { cpuTimes, loadAverages } from "./cpu.ts";
import type { CpuTimes } from "./cpu.ts";
import { workspaceDiskShare } from "./disk.ts";
import { memoryShare } from "./memory.ts";
import { mainTemperature } from "./temperature.ts";

/** The facts whose past is kept, in the order in which a sample holds them. */
export const SAMPLED = ["cpu", "memory", "temperature", "load", "disk"] as const;

export type SampledFact = (typeof SAMPLED)[number];

/** One look at the device: percent, percent, degrees Celsius, load, percent; NaN for what it does not tell. */
export type Sample = Readonly<Record<SampledFact, number>>;

/**
 * Takes samples one after the other. How busy the processor was is what it did since the last one, so
 * nothing waits; the first sample does not tell it. Never throws: a sensor that fails is NaN.
 */
export function createSampler(device: Device): () => Promise<Sample> {
  let before: CpuTimes | undefined;
  return async () => {
    const [times, memory, temperature, loads, disk] = await Promise.all([
      known(cpuTimes(device)),
      known(memoryShare(device)),
      known(mainTemperature(device)),
      known(loadAverages(device)),
      known(workspaceDiskShare(device)),
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

async function known<T>(reading: Promise<T>): Promise<T | undefined> {
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
