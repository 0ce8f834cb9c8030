import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { mkdir, open, readFile, realpath, rename, stat, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/** A file for its owner alone. */
export const PRIVATE = 0o600;

/**
 * Puts another text in the place of a file's, whole or not at all, also where the power fails: written
 * beside it, synced, renamed. A link stays one, and the owner the same. Throws where the text is not
 * `former` any more, and what the file system says.
 */
export async function replaceFile(
  file: string,
  { former, text, mode }: { former: string; text: string; mode: number },
): Promise<void> {
  const target = await realpath(file);
  const facts = await stat(target);
  const temporary = join(dirname(target), `.${basename(target)}.${randomUUID()}`);
  try {
    const handle = await open(temporary, "wx", mode);
    try {
      const own = await handle.stat();
      if (own.uid !== facts.uid || own.gid !== facts.gid) await handle.chown(facts.uid, facts.gid);
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    if ((await readFile(target, "utf8")) !== former) throw new Error("it was changed meanwhile");
    await rename(temporary, target);
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  }
  await syncFolder(dirname(target));
}

/** Writes a file for its owner alone that was not there; throws `EEXIST` where it was. */
export async function createPrivateFile(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const handle = await open(file, "wx", PRIVATE);
  try {
    await handle.writeFile(text);
    await handle.sync();
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
