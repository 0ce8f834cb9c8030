import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { parse } from "yaml";

const text = v.pipe(v.string(), v.minLength(1));

const DEFENCE = v.strictObject({
  /** What holds as long as it is there. */
  defence: text,
  file: v.pipe(text, v.startsWith("src/")),
  /** What the file says once. */
  take: text,
  put: v.optional(v.string(), ""),
  /** Files of tests that see it; behind `-t` the number of an attack. */
  tests: v.pipe(v.array(v.pipe(text, v.startsWith("test/"))), v.minLength(1)),
});
export type Defence = v.InferOutput<typeof DEFENCE>;

/** The named defences. Throws where the table is not as it must be. */
export async function readDefences(): Promise<Defence[]> {
  const file = join(import.meta.dirname, "defences.yaml");
  return v.parse(v.array(DEFENCE), parse(await readFile(file, "utf8")));
}

/** A source without the defence. Throws where the source does not say it once: then the table is out of date. */
export function without({ defence, file, take, put }: Defence, source: string): string {
  const times = source.split(take).length - 1;
  if (times !== 1) {
    throw new Error(`${defence}: ${file} holds ${times} times what shall be taken out: ${take}`);
  }
  return source.replace(take, () => put);
}

/** A file of tests, and the beginning of the names of those that are meant; "" for all. */
export function testOf(entry: string): { readonly file: string; readonly only: string } {
  const [file = "", only = ""] = entry.split(" -t ");
  return { file, only };
}
