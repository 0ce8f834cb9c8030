import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { escapeControl } from "../../base/escape-control.ts";
import { prefixOf } from "../../base/truncate.ts";
import type { Device } from "./contract.ts";

/** Bytes of one file of the kernel that are read. */
const MAX_FILE = 128 * 1024;
const MAX_NAME = 80;

/** The text of a file under the device's root, at most `most` bytes of it; undefined where it cannot be read. */
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

/** The number a file holds; undefined where there is none. */
export async function readNumberIfAny(device: Device, path: string): Promise<number | undefined> {
  const text = (await readTextIfAny(device, path, 64))?.trim() ?? "";
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : undefined;
}

/** The names in a folder, in order; none where it is not there. */
export async function namesIn({ root }: Device, path: string): Promise<string[]> {
  try {
    return (await readdir(join(root, path))).toSorted((left, right) =>
      left.localeCompare(right, "en", { numeric: true }),
    );
  } catch {
    return [];
  }
}

/** A name from the system (of a process, a sensor, a board) as one short printable word or two. */
export function cleanName(text: string): string {
  return escapeControl(prefixOf(text.replaceAll("\0", " ").trim(), MAX_NAME));
}

async function readText({ root }: Device, path: string, most: number): Promise<string> {
  const file = await open(join(root, path), "r");
  try {
    const bytes = new Uint8Array(most);
    let length = 0;
    while (length < most) {
      const { bytesRead } = await file.read(bytes, length, most - length, null);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return new TextDecoder().decode(bytes.subarray(0, length));
  } finally {
    await file.close();
  }
}
