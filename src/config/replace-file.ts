import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import type { Stats } from "node:fs";
import { mkdir, open, readFile, realpath, rename, stat, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/** A file for its owner alone. */
const PRIVATE = 0o600;
const GROUP_READS = 0o040;
/** A byte order mark, which nobody reads as a part of the text. */
const MARK = Buffer.from([0xef, 0xbb, 0xbf]);

class ChangedMeanwhile extends Error {
  override readonly message = "it was changed meanwhile";
  readonly code = "CHANGED";
}

/**
 * Puts another text in the place of a file's, whole or not at all, also where the power fails: written
 * beside it, synced, renamed. A link stays one, a byte order mark too, and the owner the same; so does a
 * group of one service that may read a file of root's. Throws `CHANGED` where the text is not `former`
 * any more, and what the file system says.
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
    if (new TextDecoder().decode(bytes) !== former) throw new ChangedMeanwhile();
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
    if (!(await readFile(target)).equals(bytes)) throw new ChangedMeanwhile();
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

/** Writes a file for its owner alone that was not there, or none; throws `EEXIST` where it was. */
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

/** So that the name survives, too; not every file system has it. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY);
  try {
    await handle.sync().catch(() => {});
  } finally {
    await handle.close();
  }
}
