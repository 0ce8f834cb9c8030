import { readdir, readFile, writeFile } from "node:fs/promises";

/** Milliseconds in a tick, by which proc_pid_stat(5) counts. */
const TICK_MS = 10;

/**
 * Milliseconds of CPU that a process has used, as getrusage(2) tells them: to the nanosecond by its threads, and to
 * the tick if threads have ended.
 */
export async function cpuOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  // The name before it may hold anything.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = Number(fields[11]) + Number(fields[12]);
  return Math.max(await threadTimeOf(pid), ticks * TICK_MS);
}

async function threadTimeOf(pid: number): Promise<number> {
  const threads = await readdir(`/proc/${pid}/task`);
  const used = threads.map(async (thread) => {
    // A thread may end meanwhile.
    const text = await readFile(`/proc/${pid}/task/${thread}/schedstat`, "utf8").catch(() => "0");
    return Number(text.split(" ")[0]) / 1e6;
  });
  return (await Promise.all(used)).reduce((sum, milliseconds) => sum + milliseconds, 0);
}

/** Kilobytes that a process has sent to the disk, by proc_pid_io(5). */
export async function writtenBy(pid: number): Promise<number> {
  const io = await readFile(`/proc/${pid}/io`, "utf8");
  return Number(/^write_bytes: (\d+)/m.exec(io)?.[1]) / 1024;
}

/** Megabytes. */
export interface Memory {
  readonly rss: number;
  readonly pss: number;
  /** What the process has written itself and shares with nobody. */
  readonly dirty: number;
  /** The largest resident set so far, or since `forgetPeak`. */
  readonly peak: number;
}

export async function memoryOf(pid: number): Promise<Memory> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, "utf8");
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return {
    rss: sizeIn(status, "VmRSS"),
    pss: sizeIn(rollup, "Pss"),
    dirty: sizeIn(rollup, "Private_Dirty"),
    peak: sizeIn(status, "VmHWM"),
  };
}

export async function forgetPeak(pid: number): Promise<void> {
  await writeFile(`/proc/${pid}/clear_refs`, "5");
}

function sizeIn(text: string, name: string): number {
  return Number(new RegExp(String.raw`^${name}:\s+(\d+) kB`, "m").exec(text)?.[1]) / 1024;
}
