import { freemem, totalmem } from "node:os";
import { join } from "node:path";
import type { Device, ReadFact } from "./contract.ts";
import { readNumberIfAny, readTextIfAny } from "./files.ts";
import { percentText, sizeText } from "./format.ts";

/** Bytes. */
interface MemoryState {
  readonly total: number;
  readonly available: number;
  readonly swapTotal: number;
  readonly swapFree: number;
}

/** The memory limit of a control group, in bytes. */
interface GroupState {
  readonly limit: number;
  readonly used: number;
}

/** The memory usage. A container's limit counts if it is lower than the device's memory. */
export const readMemory: ReadFact = async (device) => {
  const state = await memoryState(device);
  const group = await groupState(device);
  if (group !== undefined && group.limit < state.total) {
    const share = percentText(group.used, group.limit);
    const free = sizeText(Math.min(group.limit - group.used, state.available));
    return `Memory usage is ${share} of this container's limit (${sizeText(group.used)} of ${sizeText(group.limit)}, ${free} available; the device has ${sizeText(state.total)}).`;
  }
  const used = state.total - state.available;
  const sizes = `${sizeText(used)} of ${sizeText(state.total)}, ${sizeText(state.available)} available`;
  return `Memory usage is ${percentText(used, state.total)} (${sizes}; ${swapText(state)}).`;
};

/** The share of used memory, 0 to 1; of a container's limit if that is lower. */
export async function memoryShare(device: Device): Promise<number> {
  const state = await memoryState(device);
  const group = await groupState(device);
  if (group !== undefined && group.limit < state.total) return group.used / group.limit;
  return (state.total - state.available) / state.total;
}

function swapText({ swapTotal, swapFree }: MemoryState): string {
  if (swapTotal === 0) return "no swap";
  return `swap ${sizeText(swapTotal - swapFree)} of ${sizeText(swapTotal)}`;
}

async function memoryState(device: Device): Promise<MemoryState> {
  const text = (await readTextIfAny(device, "proc/meminfo")) ?? "";
  const bytesOf = (name: string): number | undefined => {
    const kilobytes = new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1];
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
  };
  const total = bytesOf("MemTotal");
  if (total === undefined) {
    return { total: totalmem(), available: freemem(), swapTotal: 0, swapFree: 0 };
  }
  // Kernels before 3.14 do not report available memory.
  const guess = (bytesOf("MemFree") ?? 0) + (bytesOf("Buffers") ?? 0) + (bytesOf("Cached") ?? 0);
  return {
    total,
    available: bytesOf("MemAvailable") ?? guess,
    swapTotal: bytesOf("SwapTotal") ?? 0,
    swapFree: bytesOf("SwapFree") ?? 0,
  };
}

/** The state of this process's group: cgroup v2 (`0::/path`), else v1 (`n:memory:/path`). */
async function groupState(device: Device): Promise<GroupState | undefined> {
  const groups = (await readTextIfAny(device, "proc/self/cgroup", 4096)) ?? "";
  const unified = /^0::(.*)$/m.exec(groups)?.[1];
  const memory = /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/m.exec(groups)?.[1];
  const folders = [
    // Inside a container the files of the group are at the root of the mount.
    ...foldersOf("sys/fs/cgroup", unified),
    ...foldersOf("sys/fs/cgroup/memory", memory),
  ];
  for (const folder of folders) {
    const state = await stateOfGroup(device, folder);
    if (state !== undefined) return state;
  }
  return undefined;
}

function foldersOf(mount: string, path: string | undefined): string[] {
  return path === undefined ? [] : [join(mount, path), mount];
}

async function stateOfGroup(device: Device, folder: string): Promise<GroupState | undefined> {
  const [limit, used, statistics] = await Promise.all([
    firstNumber(device, [`${folder}/memory.max`, `${folder}/memory.limit_in_bytes`]),
    firstNumber(device, [`${folder}/memory.current`, `${folder}/memory.usage_in_bytes`]),
    readTextIfAny(device, `${folder}/memory.stat`, 16_384),
  ]);
  if (limit === undefined || used === undefined || limit <= 0) return undefined;
  // The kernel frees the page cache when memory is needed.
  const cache = Number(/^(?:total_)?inactive_file (\d+)$/m.exec(statistics ?? "")?.[1] ?? 0);
  return { limit, used: Math.max(0, used - cache) };
}

async function firstNumber(device: Device, paths: readonly string[]): Promise<number | undefined> {
  for (const path of paths) {
    const number = await readNumberIfAny(device, path);
    if (number !== undefined) return number;
  }
  return undefined;
}
