import { appendFile, chmod, mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { writeAtomically } from "../../base/file-io.ts";

/** What was typed at a prompt, also before this process started. Nothing here rejects. */
export interface InputHistory {
  /** Latest first. */
  readonly lines: () => readonly string[];
  add(line: string): Promise<void>;
}

export const REMEMBERED_LINES = 200;
/** Lines of the file at which it is written anew with the latest ones. */
const MAX_FILE_LINES = 1000;

/**
 * Reads the history from a file that only its owner may read. A line that begins with a space is not kept, as
 * in a shell. If the file cannot be read or written, the history ends with the process.
 */
export async function openInputHistory(file: string): Promise<InputHistory> {
  const stored = await readFile(file, "utf8").catch(() => "");
  const all = stored.split("\n").filter((line) => line.trim() !== "" && !/\p{Cc}/u.test(line));
  const lines = all.slice(-REMEMBERED_LINES).toReversed();
  if (all.length > MAX_FILE_LINES) {
    const latest = all.slice(-REMEMBERED_LINES).map((line) => `${line}\n`);
    await writeAtomically(file, latest.join("")).catch(() => {});
  }
  return {
    lines: () => lines,
    async add(line) {
      if (line.trim() === "" || /^\s|\p{Cc}/u.test(line) || line === lines[0]) return;
      lines.unshift(line);
      lines.splice(REMEMBERED_LINES);
      try {
        await mkdir(dirname(file), { recursive: true });
        await appendFile(file, `${line}\n`, { mode: 0o600 });
        await chmod(file, 0o600);
      } catch {
        // The disk is full or the folder is read-only: the conversation goes on.
      }
    },
  };
}
