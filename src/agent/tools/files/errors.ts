import { escapeControl } from "../../../base/escape-control.ts";
import { codeOf } from "../../../base/failure.ts";
import { truncate } from "../../../base/truncate.ts";
import { ToolError } from "../contract.ts";

/** Characters of a path in an answer. */
const MAX_SHOWN = 200;

/** Errors of the system in words for the model; `%` stands for the path. */
const WORDS: Readonly<Record<string, string>> = {
  ENOENT: "% does not exist",
  ENOTDIR: "a part of % is a file, not a folder",
  EISDIR: "% is a folder",
  EEXIST: "% exists already",
  ELOOP: "% is a symbolic link that leads nowhere",
  EACCES: "% is not open to this program's user",
  EPERM: "% is not open to this program's user",
  EROFS: "% is on a file system that cannot be written",
  ENAMETOOLONG: "that path or a name in it is too long",
  ENOSPC: "the disk is full; nothing was changed",
  EDQUOT: "the disk is full; nothing was changed",
  EMFILE: "too many files are open, try again",
  ENFILE: "too many files are open, try again",
  ENXIO: "% is a pipe, a socket or a device, not a file",
  ENODEV: "% is a pipe, a socket or a device, not a file",
  ETXTBSY: "% is a running program",
};

/** A path from a model, short and printable. */
export function shownPath(path: string): string {
  return escapeControl(truncate(path, MAX_SHOWN));
}

/** Runs work on a path. Throws a `ToolError` in place of a known error of the system. */
export async function withToolErrors<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    const words = WORDS[codeOf(thrown)];
    if (words === undefined) throw thrown;
    throw new ToolError(words.replace("%", () => shownPath(path)));
  }
}
