import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

const CORPUS = join(import.meta.dirname, "corpus");
const FAILURES = join(import.meta.dirname, "failures");

/** The inputs that are kept of a target, in the order of their names. */
export async function readCorpus(target: string): Promise<readonly Uint8Array[]> {
  const folder = join(CORPUS, target);
  const names: string[] = await readdir(folder).catch(() => []);
  names.sort((left, right) => (left < right ? -1 : 1));
  return Promise.all(names.map((name) => readFile(join(folder, name))));
}

/** Bytes; what is longer is seldom worth its place. */
const KEPT = 4096;

/** Adds what a run has found and is not long, each under a name that its content makes. */
export async function keep(target: string, found: readonly Uint8Array[]): Promise<void> {
  const folder = join(CORPUS, target);
  await mkdir(folder, { recursive: true });
  const short = found.filter(({ length }) => length <= KEPT);
  for (const input of short) await writeFile(join(folder, nameOf(input)), input);
}

/** Writes an input that broke something; returns where. */
export async function writeFailure(target: string, input: Uint8Array): Promise<string> {
  await mkdir(FAILURES, { recursive: true });
  const file = join(FAILURES, `${target}-${nameOf(input)}`);
  await writeFile(file, input);
  return file;
}

function nameOf(input: Uint8Array): string {
  return `found-${createHash("sha256").update(input).digest("hex").slice(0, 12)}`;
}
