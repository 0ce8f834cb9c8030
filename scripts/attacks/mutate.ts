import { spawn } from "node:child_process";
import { cp, mkdtemp, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { readDefences, testOf, without } from "./defences.ts";
import type { Defence } from "./defences.ts";

const root = join(import.meta.dirname, "../..");
const LEFT_OUT = new Set([".git", "node_modules", "dist"]);
/** Milliseconds for one file of tests; without what they test some wait for what never comes. */
const FILE_MS = 240_000;

/** What came of one file of tests: the names of those that failed; undefined where it could not be run. */
type Failed = ReadonlySet<string> | undefined;

/**
 * Takes each named defence out of a copy of the program and runs the tests that are said to see it, behind
 * a wall of bubblewrap: what they try is not stopped by what was taken away. Prints how many see each.
 * Returns whether each was seen; `only` is a word in the name of those that are tried.
 */
export async function mutate(only = ""): Promise<boolean> {
  const all = await readDefences();
  for (const defence of all) without(defence, await readFile(join(root, defence.file), "utf8"));
  const chosen = all.filter(({ defence }) => defence.includes(only));
  const copy = await realpath(await mkdtemp(join(tmpdir(), "picoclaw-mutants-")));
  try {
    await copyTo(copy);
    const tests = createTests(copy);
    const unseen: string[] = [];
    for (const defence of chosen) {
      const seen = await seenBy(defence, copy, tests);
      if (seen.length === 0) unseen.push(defence.defence);
      console.log(lineOf(defence, seen));
    }
    console.log(`\n${chosen.length} defences taken away, ${unseen.length} seen by no test`);
    for (const name of unseen) console.log(`not seen: ${name}`);
    return chosen.length > 0 && unseen.length === 0;
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

async function copyTo(copy: string): Promise<void> {
  await cp(root, copy, { recursive: true, filter: (path) => !LEFT_OUT.has(basename(path)) });
  await symlink(await realpath(join(root, "node_modules")), join(copy, "node_modules"));
}

function lineOf({ defence, tests }: Defence, seen: readonly string[]): string {
  const count = `${seen.length}`.padStart(3);
  const names = seen.slice(0, 3).map((name) => `\n      ${name}`);
  return `${count}  ${defence}${seen.length === 0 ? ` (${tests.join(", ")})` : names.join("")}`;
}

/** Names of the tests that fail without the defence, twice, and pass with it: a busy machine fails some by itself. */
async function seenBy(defence: Defence, copy: string, tests: Tests): Promise<string[]> {
  const file = join(copy, defence.file);
  const source = await readFile(file, "utf8");
  const before = await failedOf(defence.tests, tests.before);
  await writeFile(file, without(defence, source));
  try {
    const once = await failedOf(defence.tests, tests.run);
    const seen = [...once].filter((name) => !before.has(name));
    if (seen.length === 0) return [];
    const twice = await failedOf(defence.tests, tests.run);
    return seen.filter((name) => twice.has(name));
  } finally {
    await writeFile(file, source);
  }
}

async function failedOf(
  entries: readonly string[],
  run: (entry: string) => Promise<Failed>,
): Promise<ReadonlySet<string>> {
  const names = new Set<string>();
  for (const entry of entries) {
    const failed = await run(entry);
    if (failed === undefined) throw new Error(`${entry} cannot be run`);
    for (const name of failed) names.add(name);
  }
  return names;
}

interface Tests {
  readonly run: (entry: string) => Promise<Failed>;
  /** The same with every defence in its place; run once for each file. */
  readonly before: (entry: string) => Promise<Failed>;
}

function createTests(copy: string): Tests {
  const known = new Map<string, Promise<Failed>>();
  const run = (entry: string): Promise<Failed> => failedIn(copy, entry);
  return {
    run,
    before(entry) {
      const failed = known.get(entry) ?? run(entry);
      known.set(entry, failed);
      return failed;
    },
  };
}

async function failedIn(copy: string, entry: string): Promise<Failed> {
  const { file, only } = testOf(entry);
  const words = ["test", "--timeout", "60000", file, ...(only === "" ? [] : ["-t", only])];
  const [program = "", ...own] = [...ENDING, "bwrap", ...wall(copy)];
  const child = spawn(program, [...own, process.execPath, ...words], {
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, PICOCLAW_UNDER_TEST: "bun", NO_COLOR: "1" },
  });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (data) => {
      text += String(data);
    });
  }
  const timer = setTimeout(() => {
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  }, FILE_MS);
  await new Promise<void>((resolve, reject) => {
    child.on("close", () => resolve());
    child.on("error", (error) => reject(new Error(`bubblewrap is needed: ${error.message}`)));
  });
  clearTimeout(timer);
  const names = [...text.matchAll(/^\((?:fail|pass)\) (.+?)(?: \[[\d.]+ms\])?$/gm)];
  // A source that cannot be loaded is no defence that was seen.
  if (names.length === 0 || /^error: .*(?:SyntaxError|Cannot find)/m.test(text)) {
    console.error(text.slice(-2_000));
    return undefined;
  }
  return new Set(names.filter(([line]) => line.startsWith("(fail)")).map(([, name = ""]) => name));
}

const isRoot = process.getuid?.() === 0;

/**
 * Process ids of its own: what a mutant leaves running, be it a fork bomb, ends with its tests. Where this
 * program is not root, a sandbox within could not be made then.
 */
const ENDING = isRoot ? "unshare --pid --fork --kill-child --mount-proc".split(" ") : [];

/** A machine that can only be read but for the copy, and without network. */
function wall(copy: string): readonly string[] {
  return [
    ..."--die-with-parent --unshare-net --ro-bind / / --dev /dev".split(" "),
    // Not a /proc of its own: a sandbox within could not have one then.
    ..."--bind /proc /proc --tmpfs /tmp --tmpfs /srv".split(" "),
    "--bind",
    copy,
    copy,
    "--chdir",
    copy,
    ...(isRoot ? ["--cap-add", "ALL"] : []),
    "--",
  ];
}
