import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import type { Pin } from "./pin.ts";
import { assertRegular, FILE_MODE, statsIfAny } from "./regular.ts";

/**
 * Puts a whole new content in a file's place: who reads it, at any moment and after a loss of power,
 * finds the old content or the new one. The mode of a file that is there is kept.
 */
export async function replaceFile(pin: Pin, name: string, content: string): Promise<void> {
  const old = await statsIfAny(pin.at(name));
  if (old !== undefined) assertRegular(old);
  const draft = pin.at(`.${randomUUID()}.draft`);
  try {
    await writeDraft(pin, draft, { content, mode: (old?.mode ?? FILE_MODE) & 0o777 });
    await pin.check();
    await rename(draft, pin.at(name));
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
  await syncFolder(pin);
}

async function writeDraft(
  pin: Pin,
  draft: string,
  { content, mode }: { readonly content: string; readonly mode: number },
): Promise<void> {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const handle = await open(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, FILE_MODE);
  try {
    await pin.check();
    await handle.writeFile(content);
    if (mode !== FILE_MODE) await handle.chmod(mode);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A new name is on the disk once its folder is; not every file system can do that. */
async function syncFolder(pin: Pin): Promise<void> {
  let folder: FileHandle | undefined;
  try {
    folder = await open(pin.at(), constants.O_RDONLY);
    await folder.sync();
  } catch {
    // The content is in its place all the same.
  } finally {
    await folder?.close();
  }
}
