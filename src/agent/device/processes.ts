import type { Device, ReadFact } from "./contract.ts";
import { SAMPLE_MS } from "./contract.ts";
import { cleanName, namesIn, readTextIfAny } from "./files.ts";
import { countText, listText, percentText, sizeText } from "./format.ts";

interface Process {
  readonly id: string;
  /** Its start, in ticks since the boot of the device: process ids are reused. */
  readonly began?: string;
  readonly name: string;
  /** The rank: ticks since its start, or bytes. */
  readonly amount: number;
}

const SHOWN = 5;
const MAX_PROCESSES = 4096;
/** Files that are open at the same time. */
const BATCH = 64;

/** Which processes use the processor most, between two samples, in shares of the whole processor. */
export const readTopCpu: ReadFact = async (device, signal) => {
  const before = await Promise.all([processTimes(device, signal), totalTime(device)]);
  await device.pause(SAMPLE_MS, signal);
  const after = await Promise.all([processTimes(device, signal), totalTime(device)]);
  const elapsed = after[1] - before[1];
  if (elapsed <= 0) throw new Error("the processor's time did not advance");
  const earlier = new Map(before[0].map(({ id, began, amount }) => [`${id} ${began}`, amount]));
  const used = after[0].map(({ id, began, name, amount }) => {
    // For a process that began in between, all its time counts.
    return { id, name, amount: amount - (earlier.get(`${id} ${began}`) ?? 0) };
  });
  const top = ranked(used).map(
    (process) => `${nameText(process)} ${percentText(process.amount, elapsed)}`,
  );
  const count = countText(after[0].length, "process");
  if (top.length === 0) return `None of the ${count} used the CPU just now.`;
  return `Most CPU of ${count} is used by ${listText(top)}.`;
};

/** Which processes hold the most memory. */
export const readTopMemory: ReadFact = async (device, signal) => {
  const all = await processSizes(device, signal);
  if (all.length === 0) throw new Error("this system does not show its processes");
  const top = ranked(all).map((process) => `${nameText(process)} ${sizeText(process.amount)}`);
  return `Most memory of ${countText(all.length, "process")} is used by ${listText(top)}.`;
};

function ranked(processes: readonly Process[]): Process[] {
  return processes
    .filter(({ amount }) => amount > 0)
    .toSorted((left, right) => right.amount - left.amount)
    .slice(0, SHOWN);
}

function nameText({ id, name }: Process): string {
  return `${name} (process ${id})`;
}

/** `pid (name) state …`, utime, stime and starttime in fields 14, 15 and 22 (proc_pid_stat(5)); the name may hold anything. */
async function processTimes(device: Device, signal: AbortSignal): Promise<Process[]> {
  return await eachProcess(device, signal, async (id) => {
    const text = await readTextIfAny(device, `proc/${id}/stat`, 1024);
    if (text === undefined) return undefined;
    const end = text.lastIndexOf(")");
    const fields = text.slice(end + 2).split(" ");
    const amount = Number(fields[11]) + Number(fields[12]);
    const name = cleanName(text.slice(text.indexOf("(") + 1, end));
    return Number.isFinite(amount) ? { id, began: fields[19] ?? "", name, amount } : undefined;
  });
}

async function processSizes(device: Device, signal: AbortSignal): Promise<Process[]> {
  return await eachProcess(device, signal, async (id) => {
    const text = await readTextIfAny(device, `proc/${id}/status`, 4096);
    const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(text ?? "")?.[1];
    const name = cleanName(/^Name:\s+(.*)$/m.exec(text ?? "")?.[1] ?? "");
    // Kernel threads have no memory of their own, but count as processes.
    return text === undefined ? undefined : { id, name, amount: Number(kilobytes ?? 0) * 1024 };
  });
}

async function eachProcess(
  device: Device,
  signal: AbortSignal,
  read: (id: string) => Promise<Process | undefined>,
): Promise<Process[]> {
  const ids = (await namesIn(device, "proc")).filter((name) => /^\d+$/.test(name));
  const found: (Process | undefined)[] = [];
  for (let start = 0; start < Math.min(ids.length, MAX_PROCESSES); start += BATCH) {
    signal.throwIfAborted();
    found.push(...(await Promise.all(ids.slice(start, start + BATCH).map(read))));
  }
  return found.filter((process) => process !== undefined);
}

/** Ticks of all cores together. */
async function totalTime(device: Device): Promise<number> {
  const stat = await readTextIfAny(device, "proc/stat");
  const line = /^cpu +(.+)$/m.exec(stat ?? "")?.[1];
  if (line === undefined) throw new Error("this system does not show the time of its processes");
  return line
    .split(/\s+/)
    .slice(0, 8)
    .reduce((sum, ticks) => sum + Number(ticks), 0);
}
