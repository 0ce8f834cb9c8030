import type { Stats } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { codeOf } from "../../../base/failure.ts";
import { writeAtomically } from "../../../base/file-io.ts";
import { ToolError } from "../contract.ts";
import { assertRegular, statsIfAny } from "./open-dir.ts";
import type { OpenDir } from "./open-dir.ts";

export interface Replacement {
  readonly content: string;
  /** The state of the file from which the content was made. If the file has changed since, it stays. */
  readonly madeOf?: Stats;
}

/**
 * Replaces a file atomically, or makes it. An existing file keeps its mode, and its owner if this program's
 * user may set it.
 */
export async function replaceFile(
  dir: OpenDir,
  name: string,
  { content, madeOf }: Replacement,
): Promise<void> {
  const path = dir.pathOf(name);
  const old = await statsIfAny(path);
  if (old !== undefined) assertRegular(old);
  await writeAtomically(path, content, {
    async prepare(file) {
      await dir.check();
      if (old === undefined) return;
      await copyOwner(file, old);
      await file.chmod(old.mode & 0o777);
    },
    async check() {
      await dir.check();
      if (madeOf !== undefined) await assertUnchanged(path, madeOf);
    },
  });
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
