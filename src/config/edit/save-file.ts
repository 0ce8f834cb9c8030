import type { Stats } from "node:fs";
import { mkdir, open, readFile, realpath, stat, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { codeOf, Failure, messageOf } from "../../base/failure.ts";
import { syncFolder, writeAtomically } from "../../base/file-io.ts";
import { userId } from "../../base/host.ts";

/** Only the owner may read and write. */
const PRIVATE = 0o600;
const GROUP_READS = 0o040;
/** A byte order mark, which is not a part of the text. */
const MARK = Buffer.from([0xef, 0xbb, 0xbf]);

class ChangedFile extends Error {
  override readonly message = "it was changed in the meantime";
  readonly code = "CHANGED";
}

interface SavedText {
  /** The text that the file must still have; undefined if there must be no file. */
  readonly former: string | undefined;
  readonly text: string;
  /** Whether everyone may read it who could before; otherwise only its owner may. */
  readonly keepsMode?: boolean;
}

/** Writes a text to a file. Only the owner can read a new file. Throws a `Failure`. */
export async function saveFile(
  file: string,
  { former, text, keepsMode = false }: SavedText,
): Promise<void> {
  try {
    if (former === undefined) await createPrivateFile(file, text);
    else await replaceFile(file, { former, text, keepsMode });
  } catch (error) {
    const isNew = codeOf(error) === "EEXIST";
    throw unwritable(file, isNew ? new Error("it was created meanwhile") : error);
  }
}

/**
 * Replaces the text of a file atomically. Symbolic links, a byte order mark, the owner, and read permission
 * of the group on a file of root stay. Throws `CHANGED` if the text is no longer `former`, and the errors of
 * the file system.
 */
async function replaceFile(
  file: string,
  { former, text, keepsMode }: Required<SavedText>,
): Promise<void> {
  const target = await realpath(file);
  const facts = await stat(target);
  const bytes = await readFile(target);
  if (new TextDecoder().decode(bytes) !== former) throw new ChangedFile();
  const hasMark = bytes.subarray(0, MARK.length).equals(MARK);
  await writeAtomically(target, hasMark ? Buffer.concat([MARK, Buffer.from(text)]) : text, {
    async prepare(handle) {
      const own = await handle.stat();
      if (own.uid !== facts.uid || own.gid !== facts.gid) await handle.chown(facts.uid, facts.gid);
      await handle.chmod(keepsMode ? facts.mode & 0o777 : privateMode(facts));
    },
    async check() {
      if (!(await readFile(target)).equals(bytes)) throw new ChangedFile();
    },
  });
}

function privateMode({ mode, uid, gid }: Stats): number {
  const isOfService = uid === 0 && gid !== 0 && (mode & 0o077) === GROUP_READS;
  return isOfService ? PRIVATE | GROUP_READS : PRIVATE;
}

/**
 * Creates a file that only its owner can read, or no file: this user, or for root the owner of the folder. Throws
 * `EEXIST` if it exists.
 */
export async function createPrivateFile(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const folder = await stat(dirname(file));
  const handle = await open(file, "wx", PRIVATE);
  try {
    // What root writes for a service is for the service to read.
    if (userId() === 0 && folder.uid !== 0) await handle.chown(folder.uid, folder.gid);
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

/** The `Failure` of a write. */
export function unwritable(file: string, error: unknown): Failure {
  const why = messageOf(error);
  return new Failure("failed", `${file} cannot be written`, {
    why,
    remedy: WAYS_OUT[codeOf(error)] ?? "run it as the user that owns the file",
    cause: error,
  });
}

const WAYS_OUT: Readonly<Record<string, string>> = {
  CHANGED: "run it again",
  ENOSPC: "free some space on that disk and run it again",
  EDQUOT: "free some space of this user's quota and run it again",
  EROFS: "mount that disk writable (mount -o remount,rw) and run it again",
};
