import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import type { Stats } from "node:fs";
import { mkdir, open, readFile, realpath, rename, stat, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/** Only the owner may read and write. */
const PRIVATE = 0o600;
const GROUP_READS = 0o040;
/** A byte order mark, which is not a part of the text. */
const MARK = Buffer.from([0xef, 0xbb, 0xbf]);

class ChangedFile extends Error {
  override readonly message = "it was changed in the meantime";
  readonly code = "CHANGED";
}

/**
 * Replaces the text of a file completely or not at all, even if the power fails: it writes a temporary
 * file, syncs it and renames it. Symbolic links, a byte order mark, the owner, and read permission of the
 * group on a file of root stay. Throws `CHANGED` if the text is no longer `former`, and the errors of the
 * file system.
 */
export async function replaceFile(
  file: string,
  { former, text }: { former: string; text: string },
): Promise<void> {
  const target = await realpath(file);
  const facts = await stat(target);
  const temporary = join(dirname(target), `.${basename(target)}.${randomUUID()}`);
  try {
    const bytes = await readFile(target);
    if (new TextDecoder().decode(bytes) !== former) throw new ChangedFile();
    const hasMark = bytes.subarray(0, MARK.length).equals(MARK);
    const handle = await open(temporary, "wx", PRIVATE);
    try {
      const own = await handle.stat();
      if (own.uid !== facts.uid || own.gid !== facts.gid) await handle.chown(facts.uid, facts.gid);
      await handle.chmod(privateMode(facts));
      await handle.writeFile(hasMark ? Buffer.concat([MARK, Buffer.from(text)]) : text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (!(await readFile(target)).equals(bytes)) throw new ChangedFile();
    await rename(temporary, target);
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  }
  await syncFolder(dirname(target));
}

function privateMode({ mode, uid, gid }: Stats): number {
  const isOfService = uid === 0 && gid !== 0 && (mode & 0o077) === GROUP_READS;
  return isOfService ? PRIVATE | GROUP_READS : PRIVATE;
}

/** Creates a file that only its owner can read, or no file. Throws `EEXIST` if it exists. */
export async function createPrivateFile(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const handle = await open(file, "wx", PRIVATE);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } catch (error) {
    await unlink(file).catch(() => {});
    throw error;
  } finally {
    await handle.close();
  }
  await syncFolder(dirname(file));
}

/** Makes the new name durable, where the file system supports it. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY);
  try {
    await handle.sync().catch(() => {});
  } finally {
    await handle.close();
  }
}
