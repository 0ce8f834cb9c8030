import { open, readFile, rm, stat, statfs, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { sizeText } from "../../agent/device/format.ts";
import type { Diagnosis } from "../../base/contract.ts";
import { codeOf, messageOf } from "../../base/failure.ts";

/** Written, synced, read and deleted. A disk that takes it takes a conversation. */
const TEST_BYTES = 65_536;
const MEBIBYTE = 1_048_576;
/** A database grows by its conversations, and once more when it is cleaned up. */
const LITTLE_BYTES = 100 * MEBIBYTE;

/** Whether the folder of the databases can be written, and how much space there is. */
export async function stateChecks(folder: string): Promise<readonly Diagnosis[]> {
  const place = await nearestFolder(folder);
  const written = await writeCheck(folder, place);
  return written.result === "ok" ? [written, await spaceCheck(place)] : [written];
}

/** The folder, or the nearest one above it that exists: a gateway makes the rest. */
async function nearestFolder(folder: string): Promise<string> {
  for (let place = folder; ; place = dirname(place)) {
    const facts = await stat(place).catch(() => undefined);
    if (facts?.isDirectory() || place === dirname(place)) return place;
  }
}

async function writeCheck(folder: string, place: string): Promise<Diagnosis> {
  const facts = { code: "state.write", name: "state folder" } as const;
  const file = join(place, `.picoclaw-doctor-${crypto.randomUUID().slice(0, 8)}`);
  const bytes = Buffer.alloc(TEST_BYTES, 0x70);
  try {
    await writeFile(file, bytes, { flag: "wx", mode: 0o600 });
    const handle = await open(file, "r+");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    const isSame = (await readFile(file)).equals(bytes);
    if (!isSame) throw new Error("it reads other bytes than were written");
    const where = place === folder ? folder : `${folder} does not exist yet; ${place}`;
    return { ...facts, result: "ok", message: `${where} can be written and read` };
  } catch (thrown) {
    return { ...facts, result: "fail", ...writeFault(thrown, folder, place) };
  } finally {
    await rm(file, { force: true }).catch(() => {});
  }
}

function writeFault(thrown: unknown, folder: string, place: string) {
  const code = codeOf(thrown);
  const other = "set agents.defaults.workspace (or PICOCLAW_HOME) to another folder";
  if (code === "ENOSPC" || code === "EDQUOT") {
    const what = code === "ENOSPC" ? "the disk" : "the quota";
    return {
      message: `${what} of ${folder} is full`,
      remedy: `free space (df -h ${place}), or ${other}`,
    };
  }
  if (code === "EROFS") {
    const remedy = `mount it writable (mount -o remount,rw), or ${other}`;
    return { message: `${folder} is on a disk that is mounted read-only`, remedy };
  }
  if (code === "EACCES" || code === "EPERM") {
    const message = `${folder} cannot be written: ${place} belongs to another user, or is read-only`;
    return { message, remedy: `sudo chown -R "$USER" ${place}, or ${other}` };
  }
  const message = `${folder} cannot be written: ${messageOf(thrown)}`;
  return { message, remedy: other };
}

async function spaceCheck(place: string): Promise<Diagnosis> {
  const facts = { code: "state.space", name: "disk space" } as const;
  try {
    const { bavail, bsize, files, ffree } = await statfs(place);
    const free = bavail * bsize;
    const message = `${sizeText(free)} are free at ${place}`;
    if (free < LITTLE_BYTES) {
      return { ...facts, result: "warn", message, remedy: `free space: df -h ${place}` };
    }
    if (files > 0 && ffree < 100) {
      const remedy = `delete files there: df -i ${place}`;
      return { ...facts, result: "warn", message: `${ffree} more files fit at ${place}`, remedy };
    }
    return { ...facts, result: "ok", message };
  } catch (thrown) {
    return { ...facts, result: "skip", message: `it is not known: ${messageOf(thrown)}` };
  }
}
