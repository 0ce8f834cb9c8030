import { arch, release, type, hostname, networkInterfaces } from "node:os";
import type { NetworkInterfaceInfo } from "node:os";
import { withTimeout } from "../../base/async.ts";
import type { Device, ReadFact } from "./contract.ts";
import { SAMPLE_MS } from "./contract.ts";
import { cpuTimes, readCpu, readLoad, readProcessor } from "./cpu.ts";
import { readDisk } from "./disk.ts";
import { cleanName, readTextIfAny, namesIn } from "./files.ts";
import { listText, countText, percentText, sizeText } from "./format.ts";
import { readMemory } from "./memory.ts";
import { readTemperature } from "./temperature.ts";
import { readTime, readUptime } from "./time.ts";

interface Fact {
  /** A description for the model; "" if the name says it. */
  readonly about: string;
  readonly read: ReadFact;
}

/** All facts, in the usual order of a report. */
export const FACTS = {
  cpu: { about: "use in percent", read: readCpu },
  memory: { about: "", read: readMemory },
  disk: { about: "space", read: readDisk },
  temperature: { about: "", read: readTemperature },
  load: { about: "", read: readLoad },
  uptime: { about: "", read: readUptime },
  network: { about: "addresses", read: readNetwork },
  hostname: { about: "", read: readHostname },
  time: { about: "with date and zone", read: readTime },
  top_cpu: { about: "busiest processes", read: readTopCpu },
  top_memory: { about: "largest processes", read: readTopMemory },
  processor: { about: "model and cores", read: readProcessor },
  system: { about: "board, OS and kernel", read: readSystem },
} satisfies Readonly<Record<string, Fact>>;

export type FactName = keyof typeof FACTS;

export const FACT_NAMES = Object.keys(FACTS).filter((name): name is FactName => name in FACTS);

/** Milliseconds for one fact: a hanging file system or sensor must not block the others. */
const FACT_MS = 5_000;

/** One fact as a sentence. The sentence says so if the device does not provide it. */
export async function factSentence(
  name: FactName,
  device: Device,
  signal: AbortSignal,
): Promise<string> {
  try {
    return await withTimeout(FACT_MS, signal, (limit) => FACTS[name].read(device, limit));
  } catch (thrown) {
    signal.throwIfAborted();
    const why = thrown instanceof Error ? thrown.message : "no reason";
    return `The ${name.replace("_", " ")} cannot be read here (${why}).`;
  }
}

/** Board, operating system, kernel. */
async function readSystem(device: Device): Promise<string> {
  const [board, system, kernel] = await Promise.all([
    boardName(device),
    systemName(device),
    readTextIfAny(device, "proc/sys/kernel/osrelease", 256),
  ]);
  const kernelName = `${type()} ${cleanName(kernel ?? release())} on ${arch()}`;
  const names = system === undefined ? kernelName : `${system}, ${kernelName}`;
  return `The system is ${names}${board === undefined ? "" : `; the board is ${board}`}.`;
}

/** The name of the board from the device tree, or of the PC from its DMI tables. */
async function boardName(device: Device): Promise<string | undefined> {
  const tree = await readTextIfAny(device, "proc/device-tree/model", 256);
  if (tree !== undefined) return cleanName(tree) || undefined;
  const folder = "sys/class/dmi/id";
  const vendor = await readTextIfAny(device, `${folder}/sys_vendor`, 256);
  const product = await readTextIfAny(device, `${folder}/product_name`, 256);
  return cleanName(`${vendor?.trim() ?? ""} ${product?.trim() ?? ""}`) || undefined;
}

async function systemName(device: Device): Promise<string | undefined> {
  const text =
    (await readTextIfAny(device, "etc/os-release", 8192)) ??
    (await readTextIfAny(device, "usr/lib/os-release", 8192)) ??
    "";
  const name = /^PRETTY_NAME=["']?([^"'\n]+)/m.exec(text)?.[1];
  return name === undefined ? undefined : cleanName(name);
}

type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

const MAX_ADDRESSES = 10;

/** The addresses of the network interfaces, without loopback. */
async function readNetwork(): Promise<string> {
  return networkText(hostname(), networkInterfaces());
}

/** The hostname. */
async function readHostname(): Promise<string> {
  return `The hostname is ${cleanName(hostname())}.`;
}

/** The addresses in words; link-local IPv6 addresses only if an interface has no other. */
export function networkText(host: string, interfaces: Interfaces): string {
  const all = Object.entries(interfaces).flatMap(([name, infos = []]) => {
    const outside = infos.filter(({ internal }) => !internal);
    const global = outside.filter(({ address }) => !/^fe80:/i.test(address));
    const shown = global.length > 0 ? global : outside;
    return shown.map(({ address }) => `${address} on ${cleanName(name)}`);
  });
  const named = `hostname ${cleanName(host)}`;
  if (all.length === 0) return `This device has no network address except loopback (${named}).`;
  const more = all.length > MAX_ADDRESSES ? [`${all.length - MAX_ADDRESSES} more`] : [];
  const subject = all.length === 1 ? "Network address is" : "Network addresses are";
  return `${subject} ${listText([...all.slice(0, MAX_ADDRESSES), ...more])} (${named}).`;
}

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
async function readTopCpu(device: Device, signal: AbortSignal): Promise<string> {
  const sample = () => Promise.all([processTimes(device, signal), cpuTimes(device)]);
  const [earlier, before] = await sample();
  if (earlier.length === 0) throw new Error("this system does not show its processes");
  await device.pause(SAMPLE_MS, signal);
  const [processes, now] = await sample();
  const elapsed = now.total - before.total;
  if (elapsed <= 0) throw new Error("the processor's time did not advance");
  const amounts = new Map(earlier.map(({ id, began, amount }) => [`${id} ${began}`, amount]));
  const used = processes.map(({ id, began, name, amount }) => {
    // For a process that began in between, all its time counts.
    return { id, name, amount: amount - (amounts.get(`${id} ${began}`) ?? 0) };
  });
  const top = ranked(used).map(
    (process) => `${nameText(process)} ${percentText(process.amount, elapsed)}`,
  );
  const count = countText(processes.length, "process");
  if (top.length === 0) return `None of the ${count} used the CPU just now.`;
  return `Most CPU of ${count} is used by ${listText(top)}.`;
}

/** Which processes hold the most memory. */
async function readTopMemory(device: Device, signal: AbortSignal): Promise<string> {
  const all = await processSizes(device, signal);
  if (all.length === 0) throw new Error("this system does not show its processes");
  const top = ranked(all).map((process) => `${nameText(process)} ${sizeText(process.amount)}`);
  return `Most memory of ${countText(all.length, "process")} is used by ${listText(top)}.`;
}

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
