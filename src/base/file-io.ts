import { randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";

/** At most `most` bytes from an offset; fewer at the end of the file. */
export async function readBytes(
  handle: FileHandle,
  from: number,
  most: number,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(most);
  let length = 0;
  while (length < most) {
    const { bytesRead } = await handle.read(bytes, length, most - length, from + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return bytes.subarray(0, length);
}

/** What happens on the way. If a step throws, the old file stays. */
interface WriteSteps {
  /** Gets the new file, still empty, to give it its owner and mode. */
  readonly prepare?: (file: FileHandle) => Promise<void>;
  /** Runs just before the new file takes the place of the old one. */
  readonly check?: () => Promise<void>;
}

/**
 * Writes a whole file atomically: a reader sees the old content or the new one, at any moment and after a
 * loss of power. Only this program's user may read it, unless `prepare` changes that. Throws the errors of
 * the file system and of the steps.
 */
export async function writeAtomically(
  file: string,
  content: string | Uint8Array,
  { prepare, check }: WriteSteps = {},
): Promise<void> {
  // A short name: that of the file may be as long as the system allows.
  const draft = join(dirname(file), `.${randomUUID()}.draft`);
  try {
    // `x` follows no link: it opens nothing that exists.
    const handle = await open(draft, "wx", 0o600);
    try {
      await prepare?.(handle);
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await check?.();
    await rename(draft, file);
  } catch (error) {
    // What failed first is the cause: a disk that is mounted read-only lets nothing be removed, either.
    await rm(draft, { force: true }).catch(() => {});
    throw error;
  }
  await syncFolder(dirname(file));
}

/** Writes the new name to the disk; not every file system can sync a folder. */
export async function syncFolder(path: string): Promise<void> {
  let folder: FileHandle | undefined;
  try {
    folder = await open(path, "r");
    await folder.sync();
  } catch {
    // The file is replaced anyway.
  } finally {
    await folder?.close();
  }
}
