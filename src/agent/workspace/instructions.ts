import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Check } from "../../base/contract.ts";
import { listed } from "../../base/truncate.ts";
import { at, isObject, textAt } from "../../base/unknown.ts";
import { OWNER_FILES } from "./contract.ts";
import { bytesWithin } from "./files.ts";

/**
 * A fingerprint of the owner's instructions to the model, plain data: two gateways with the same one say the same.
 */
export interface Instructions {
  /** Of the names and contents of all files, in any order. */
  readonly hash: string;
  /** Of the content of each file, by its path; the first ones if there are very many. */
  readonly files: Readonly<Record<string, string>>;
}

/** What is beyond these counts with its name alone, or with its beginning and its size. */
const MAX_FILES = 1000;
const MAX_FILE = 1024 * 1024;
const MAX_DEPTH = 8;
const MAX_LISTED = 128;
const DIGITS = 12;

/** Reads AGENT.md, SOUL.md and the like, and the skills of the workspace and of the home. Never throws. */
export async function readInstructions(folder: string, home: string): Promise<Instructions> {
  const files = new Map<string, string>();
  for (const name of OWNER_FILES) await add({ root: folder, path: name, name }, files, 0);
  await add({ root: home, path: "skills", name: "skills of the home" }, files, 0);
  const sorted = [...files].toSorted(([left], [right]) => (left < right ? -1 : 1));
  const hash = createHash("sha256");
  for (const [name, digest] of sorted) hash.update(`${name}\0${digest}\n`);
  const named = sorted.slice(0, MAX_LISTED);
  return { hash: hash.digest("hex").slice(0, DIGITS), files: Object.fromEntries(named) };
}

interface Place {
  readonly root: string;
  readonly path: string;
  /** As others are told of it. */
  readonly name: string;
}

/** Adds a file, or all files of a folder. */
async function add({ root, path, name }: Place, files: Map<string, string>, depth: number) {
  if (files.size >= MAX_FILES) return;
  const names = depth < MAX_DEPTH ? await namesIn(join(root, path)) : undefined;
  if (names === undefined) {
    const digest = await digestOf(root, path);
    if (digest !== undefined) files.set(name, digest);
    return;
  }
  for (const each of names) {
    if (each.startsWith(".")) continue;
    await add({ root, path: `${path}/${each}`, name: `${name}/${each}` }, files, depth + 1);
  }
}

/** The names in a folder; undefined if it is none. */
async function namesIn(folder: string): Promise<readonly string[] | undefined> {
  try {
    return (await readdir(folder)).toSorted();
  } catch {
    return undefined;
  }
}

/** Undefined if there is no such file, or it cannot be read. */
async function digestOf(root: string, path: string): Promise<string | undefined> {
  try {
    const { bytes, size } = await bytesWithin(root, join(root, path), MAX_FILE);
    const hash = createHash("sha256").update(bytes);
    if (size > bytes.length) hash.update(`\0${size}`);
    return hash.digest("hex").slice(0, DIGITS);
  } catch {
    return undefined;
  }
}

/** What another gateway announced. */
export interface OtherInstructions {
  /** The name of the gateway. */
  readonly gateway: string;
  /** Its `Instructions`; anything else if it announced none. */
  readonly instructions: unknown;
}

const NAMED = 3;

/** Compares the instructions of this gateway with those of others that share its store. */
export function instructionChecks(
  own: Instructions,
  others: readonly OtherInstructions[],
): readonly Check[] {
  const known = others.filter(({ instructions }) => textAt(instructions, "hash") !== "");
  const different = known.filter(({ instructions }) => at(instructions, "hash") !== own.hash);
  const name = "AGENT.md, SOUL.md and skills";
  if (different.length === 0) {
    const message =
      known.length === 0 ? "are compared with no other gateway" : "are the same on all gateways";
    return [{ name, result: "ok", message }];
  }
  return different.map(({ gateway, instructions }) => ({
    name,
    result: "warn",
    message: `are not those of the gateway ${gateway}: ${namesText(differences(own, instructions))}`,
    remedy: "copy them from one gateway to all: any of them may answer a client",
  }));
}

/** The paths of the files that are not the same, or that one of both lacks. */
function differences({ files }: Instructions, other: unknown): readonly string[] {
  const given = at(other, "files");
  const theirs = isObject(given) ? given : {};
  const names = new Set([...Object.keys(files), ...Object.keys(theirs)]);
  return [...names].toSorted().filter((name) => at(files, name) !== at(theirs, name));
}

function namesText(names: readonly string[]): string {
  if (names.length === 0) return "one of many files differs";
  return `${listed(names, NAMED)} ${names.length === 1 ? "differs" : "differ"}`;
}
