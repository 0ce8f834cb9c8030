import { cpus, loadavg } from "node:os";
import type { Device, ReadFact } from "./contract.ts";
import { SAMPLE_MS } from "./contract.ts";
import { cleanName, readNumberIfAny, readTextIfAny } from "./files.ts";
import { countText, percentText } from "./format.ts";

/** Times since the boot, in ticks or milliseconds; only their differences matter. */
export interface CpuTimes {
  readonly busy: number;
  readonly total: number;
  readonly cores: number;
}

/** The CPU usage, measured between two samples. */
export const readCpu: ReadFact = async (device, signal) => {
  const before = await cpuTimes(device);
  await device.pause(SAMPLE_MS, signal);
  const after = await cpuTimes(device);
  const total = after.total - before.total;
  if (total <= 0) throw new Error("the processor's time did not advance");
  const usage = percentText(after.busy - before.busy, total);
  const load = (await loadAverages(device))?.[0];
  const loadText = load === undefined ? "" : `, load ${load.toFixed(2)}`;
  return `CPU usage is ${usage} (${countText(after.cores, "core")}${loadText}).`;
};

/** The load averages over 1, 5 and 15 minutes. */
export const readLoad: ReadFact = async (device) => {
  const averages = await loadAverages(device);
  if (averages === undefined) throw new Error("this system keeps no load average");
  const cores = countText((await cpuTimes(device)).cores, "core");
  const values = averages.map((average) => average.toFixed(2)).join(", ");
  return `Load average is ${values} over 1, 5 and 15 minutes (${cores}).`;
};

/** The model, cores and clock of the processor. */
export const readProcessor: ReadFact = async (device) => {
  const info = (await readTextIfAny(device, "proc/cpuinfo")) ?? "";
  const named = /^(?:model name|Hardware|cpu model|uarch)\s*:\s*(.+)$/im.exec(info)?.[1];
  const name = cleanName(named ?? cpus()[0]?.model ?? "");
  const kilohertz = await readNumberIfAny(
    device,
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
  );
  const megahertz = Number(/^cpu MHz\s*:\s*([\d.]+)/im.exec(info)?.[1] ?? 0);
  const gigahertz = kilohertz === undefined ? megahertz / 1e3 : kilohertz / 1e6;
  const speed = gigahertz > 0 ? ` at ${gigahertz.toFixed(2)} GHz` : "";
  const cores = countText((await cpuTimes(device)).cores, "core");
  const isNamed = name !== "" && name !== "unknown";
  return `The processor is ${isNamed ? `${name} with` : "of unknown make with"} ${cores}${speed}.`;
};

/** The CPU times since the boot. */
export async function cpuTimes(device: Device): Promise<CpuTimes> {
  const stat = await readTextIfAny(device, "proc/stat");
  return (stat === undefined ? undefined : kernelTimes(stat)) ?? systemTimes();
}

/** `cpu user nice system idle iowait irq softirq steal …` (proc(5)); user includes guest time. */
function kernelTimes(stat: string): CpuTimes | undefined {
  const line = /^cpu +(.+)$/m.exec(stat)?.[1];
  if (line === undefined) return undefined;
  const times = line.split(/\s+/).slice(0, 8).map(Number);
  const [, , , idle = 0, waiting = 0] = times;
  const total = times.reduce((sum, time) => sum + time, 0);
  const cores = stat.match(/^cpu\d+ /gm)?.length ?? 1;
  return { busy: total - idle - waiting, total, cores };
}

function systemTimes(): CpuTimes {
  const all = cpus().map(({ times }) => times);
  const idle = all.reduce((sum, times) => sum + times.idle, 0);
  const total = all.reduce((sum, { user, nice, sys, irq }) => sum + user + nice + sys + irq, idle);
  return { busy: total - idle, total, cores: Math.max(1, all.length) };
}

/** The load averages over 1, 5 and 15 minutes; undefined if the system has none. */
export async function loadAverages(device: Device): Promise<number[] | undefined> {
  const text = await readTextIfAny(device, "proc/loadavg", 128);
  const averages = text === undefined ? loadavg() : text.split(" ").slice(0, 3).map(Number);
  // Windows has none and reports zeros.
  const hasAverages = text !== undefined || averages.some((average) => average > 0);
  return hasAverages && averages.every((average) => Number.isFinite(average))
    ? averages
    : undefined;
}
