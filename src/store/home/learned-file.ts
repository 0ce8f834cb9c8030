import { readFile } from "node:fs/promises";
import { codeOf } from "../../base/failure.ts";
import { writeAtomically } from "../../base/file-io.ts";
import { fromJson } from "../../base/unknown.ts";

/** Reads a document of JSON; undefined if there is none. Rejects with the errors of the file system and of JSON. */
export async function readLearned(file: string): Promise<unknown> {
  try {
    return fromJson(await readFile(file, "utf8"));
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Writes a document of JSON into a folder that exists. */
export function writeLearned(file: string, document: unknown): Promise<void> {
  return writeAtomically(file, JSON.stringify(document));
}
