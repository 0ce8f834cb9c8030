import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import type { Stats } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { codeOf } from "../../../base/failure.ts";
import { ToolError } from "../contract.ts";
import type { OpenDir } from "./open-dir.ts";
import { assertRegular, FILE_MODE, statsIfAny } from "./open-dir.ts";

export interface Replacement {
  readonly content: string;
  /** The state of the file from which the content was made. If the file has changed since, it stays. */
  readonly madeOf?: Stats;
}

/**
 * Replaces a file atomically: a reader sees the old content or the new one, at any moment and after a loss
 * of power. An existing file keeps its mode, and its owner if this program's user may set it.
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
    if (old !== undefined) await copyOwner(handle, old);
    if (mode !== FILE_MODE) await handle.chmod(mode);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Gives the new file the old owner: root must not take a file away from a service. */
async function copyOwner(handle: FileHandle, { uid, gid }: Stats): Promise<void> {
  const own = await handle.stat();
  if (own.uid === uid && own.gid === gid) return;
  await handle.chown(uid, gid).catch((error: unknown) => {
    // A user who must not change owners gets the file.
    if (codeOf(error) !== "EPERM") throw error;
  });
}

/** Throws a `ToolError` if the file has changed: a service may have added to its log, a person to a note. */
async function assertUnchanged(path: string, before: Stats): Promise<void> {
  const now = await statsIfAny(path);
  const isSame =
    now !== undefined &&
    (["dev", "ino", "size", "mtimeMs"] as const).every((key) => now[key] === before[key]);
  if (!isSame)
    throw new ToolError("the file has just been changed and was not replaced; read it again");
}

/** Writes the new name to the disk; not every file system can sync a folder. */
async function syncFolder(dir: OpenDir): Promise<void> {
  let folder: FileHandle | undefined;
  try {
    folder = await open(dir.pathOf(), constants.O_RDONLY);
    await folder.sync();
  } catch {
    // The file is replaced anyway.
  } finally {
    await folder?.close();
  }
}
