import { withTimeout } from "../../base/async.ts";
import type { Device, ReadFact } from "./contract.ts";
import { readCpu, readLoad, readProcessor } from "./cpu.ts";
import { readDisk } from "./disk.ts";
import { readMemory } from "./memory.ts";
import { readTopCpu, readTopMemory } from "./processes.ts";
import { readHostname, readNetwork, readSystem } from "./system.ts";
import { readTemperature } from "./temperature.ts";
import { readTime, readUptime } from "./time.ts";

/** The names of the facts of a device, in the usual order of a report. */
export const FACT_NAMES = [
  "cpu",
  "memory",
  "disk",
  "temperature",
  "load",
  "uptime",
  "network",
  "hostname",
  "time",
  "top_cpu",
  "top_memory",
  "processor",
  "system",
] as const;

export type FactName = (typeof FACT_NAMES)[number];

interface Fact {
  /** A description for the model. */
  readonly about: string;
  readonly read: ReadFact;
}

/** All facts. */
export const FACTS: Readonly<Record<FactName, Fact>> = {
  cpu: { about: "how busy the processor is now (measured)", read: readCpu },
  memory: { about: "memory and swap, used and available", read: readMemory },
  disk: { about: "space on every disk", read: readDisk },
  temperature: { about: "what the sensors say", read: readTemperature },
  load: { about: "load averages", read: readLoad },
  uptime: { about: "how long it has been up", read: readUptime },
  network: { about: "addresses of its interfaces", read: readNetwork },
  hostname: { about: "its name in the network", read: readHostname },
  time: { about: "local time, date and time zone", read: readTime },
  top_cpu: { about: "the processes that use the processor most", read: readTopCpu },
  top_memory: { about: "the processes that hold the most memory", read: readTopMemory },
  processor: { about: "make, cores and clock of the processor", read: readProcessor },
  system: { about: "board, operating system and kernel", read: readSystem },
};

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
