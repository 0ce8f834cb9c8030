import { escapeControl } from "../../../base/escape-control.ts";
import { codeOf } from "../../../base/failure.ts";
import { truncate } from "../../../base/truncate.ts";

/** Why a file tool does not do what it was asked, in a sentence for the model. */
export class FileError extends Error {
  override readonly name = "FileError";
}

/** Characters of a path that an answer repeats. */
const MAX_SHOWN = 200;

/** What errors of the system mean for who asked; `%` stands for the path. */
const WORDS: Readonly<Record<string, string>> = {
  ENOENT: "% does not exist",
  ENOTDIR: "a part of % is a file, not a folder",
  EISDIR: "% is a folder",
  EEXIST: "% exists already",
  ELOOP: "% is or became a symbolic link that leads nowhere",
  EACCES: "% is not open to this program's user",
  EPERM: "% is not open to this program's user",
  EROFS: "% is on a file system that cannot be written",
  ENAMETOOLONG: "that path or a name in it is too long",
  ENOSPC: "the disk is full, nothing was changed",
  EDQUOT: "the disk is full, nothing was changed",
  EMFILE: "too many files are open, try again",
  ENFILE: "too many files are open, try again",
  ENXIO: "% is a pipe, a socket or a device, not a file",
  ENODEV: "% is a pipe, a socket or a device, not a file",
  ETXTBSY: "% is a program that runs",
};

/** A path from a model as one short printable word. */
export function shownPath(path: string): string {
  return escapeControl(truncate(path, MAX_SHOWN));
}

/** Runs a tool's work; what keeps it from its end becomes its answer. */
export async function asToolError(path: string, work: () => Promise<string>): Promise<string> {
  try {
    return await work();
  } catch (thrown) {
    if (thrown instanceof FileError) return `error: ${thrown.message}`;
    const words = WORDS[codeOf(thrown)];
    if (words === undefined) throw thrown;
    return `error: ${words.replace("%", () => shownPath(path))}`;
  }
}
