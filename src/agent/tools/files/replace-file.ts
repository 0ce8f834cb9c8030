import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import type { Stats } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { codeOf } from "../../../base/failure.ts";
import { FileError } from "./errors.ts";
import type { OpenDir } from "./open-dir.ts";
import { assertRegular, FILE_MODE, statsIfAny } from "./safe-open.ts";

export interface Replacement {
  readonly content: string;
  /** The file as it was when the content was made of it: where it has changed since, it stays. */
  readonly madeOf?: Stats;
}

/**
 * Puts a whole new content in a file's place: who reads it, at any moment and after a loss of power,
 * finds the old content or the new one. The mode of a file that is there is kept, and its owner where
 * this program's user may do that.
 */
export async function replaceFile(
  dir: OpenDir,
  name: string,
  { content, madeOf }: Replacement,
): Promise<void> {
  const old = await statsIfAny(dir.pathOf(name));
  if (old !== undefined) assertRegular(old);
  const draft = dir.pathOf(`.${randomUUID()}.draft`);
  try {
    await writeDraft(dir, draft, content, old);
    await dir.check();
    if (madeOf !== undefined) await assertUnchanged(dir.pathOf(name), madeOf);
    await rename(draft, dir.pathOf(name));
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
  await syncFolder(dir);
}

async function writeDraft(
  dir: OpenDir,
  draft: string,
  content: string,
  old: Stats | undefined,
): Promise<void> {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const mode = (old?.mode ?? FILE_MODE) & 0o777;
  const handle = await open(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, FILE_MODE);
  try {
    await dir.check();
    await handle.writeFile(content);
    if (old !== undefined) await keepOwner(handle, old);
    if (mode !== FILE_MODE) await handle.chmod(mode);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Root must not take a file away from the service whose it is. */
async function keepOwner(handle: FileHandle, { uid, gid }: Stats): Promise<void> {
  const own = await handle.stat();
  if (own.uid === uid && own.gid === gid) return;
  await handle.chown(uid, gid).catch((error: unknown) => {
    // Whoever may write here, but give nothing away, has it as a file of its own.
    if (codeOf(error) !== "EPERM") throw error;
  });
}

/** Somebody may have added to it since: a service to its log, a person to a note. */
async function assertUnchanged(path: string, before: Stats): Promise<void> {
  const now = await statsIfAny(path);
  const isSame =
    now !== undefined &&
    (["dev", "ino", "size", "mtimeMs"] as const).every((key) => now[key] === before[key]);
  if (!isSame)
    throw new FileError("the file was changed in this moment and was left; read it again");
}

/** A new name is on the disk once its folder is; not every file system can do that. */
async function syncFolder(dir: OpenDir): Promise<void> {
  let folder: FileHandle | undefined;
  try {
    folder = await open(dir.pathOf(), constants.O_RDONLY);
    await folder.sync();
  } catch {
    // The content is in its place all the same.
  } finally {
    await folder?.close();
  }
}
