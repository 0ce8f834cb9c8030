import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { parse } from "yaml";

const text = v.pipe(v.string(), v.minLength(1));

const DEFENCE = v.strictObject({
  /** What the defence ensures. */
  defence: text,
  file: v.pipe(text, v.startsWith("src/")),
  /** The source text to remove; the file holds it once. */
  take: text,
  put: v.optional(v.string(), ""),
  /** Test files that notice it; `-t` is followed by the number of an attack. */
  tests: v.pipe(v.array(v.pipe(text, v.startsWith("test/"))), v.minLength(1)),
});
export type Defence = v.InferOutput<typeof DEFENCE>;

/** The named defences. Throws if the table is malformed. */
export async function readDefences(): Promise<Defence[]> {
  const file = join(import.meta.dirname, "defences.yaml");
  return v.parse(v.array(DEFENCE), parse(await readFile(file, "utf8")));
}

/** The source without the defence. Throws if the source does not hold it exactly once: the table is out of date. */
export function without({ defence, file, take, put }: Defence, source: string): string {
  const times = source.split(take).length - 1;
  if (times !== 1) {
    throw new Error(`${defence}: ${file} holds ${times} times the text to remove: ${take}`);
  }
  return source.replace(take, () => put);
}

/** A test file, and the beginning of the names of the tests to run; "" for all. */
export function testOf(entry: string): { readonly file: string; readonly only: string } {
  const [file = "", only = ""] = entry.split(" -t ");
  return { file, only };
}
