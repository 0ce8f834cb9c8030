import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { escapeControl } from "../../base/escape-control.ts";
import { readBytes } from "../../base/file-io.ts";
import { prefixOf } from "../../base/truncate.ts";
import type { Device } from "./contract.ts";

/** Bytes that are read of one file of the kernel. */
const MAX_FILE = 128 * 1024;
const MAX_NAME = 80;

/** The first `most` bytes of a file below the device's root; undefined if it cannot be read. */
export async function readTextIfAny(
  device: Device,
  path: string,
  most = MAX_FILE,
): Promise<string | undefined> {
  try {
    return await readText(device, path, most);
  } catch {
    return undefined;
  }
}

/** The number in a file; undefined if there is none. */
export async function readNumberIfAny(device: Device, path: string): Promise<number | undefined> {
  const text = (await readTextIfAny(device, path, 64))?.trim() ?? "";
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : undefined;
}

/** The sorted names in a folder; empty if it does not exist. */
export async function namesIn({ root }: Device, path: string): Promise<string[]> {
  try {
    return (await readdir(join(root, path))).toSorted((left, right) =>
      left.localeCompare(right, "en", { numeric: true }),
    );
  } catch {
    return [];
  }
}

/** A name from the system (of a process, a sensor, a board), short and printable. */
export function cleanName(text: string): string {
  return escapeControl(prefixOf(text.replaceAll("\0", " ").trim(), MAX_NAME));
}

async function readText({ root }: Device, path: string, most: number): Promise<string> {
  const file = await open(join(root, path), "r");
  try {
    return new TextDecoder().decode(await readBytes(file, 0, most));
  } finally {
    await file.close();
  }
}
