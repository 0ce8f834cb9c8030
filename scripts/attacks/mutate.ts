import { spawn } from "node:child_process";
import { cp, mkdtemp, readFile, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { readDefences, testOf, without } from "./defences.ts";
import type { Defence } from "./defences.ts";

const root = join(import.meta.dirname, "../..");
const LEFT_OUT = new Set([".git", "node_modules", "dist"]);
/** Milliseconds for one test file; without the defence some tests wait for an event that never comes. */
const FILE_MS = 240_000;

/** The names of the failed tests of a file; undefined if the file could not run. */
type Failed = ReadonlySet<string> | undefined;

/**
 * Removes each named defence from a copy of the program and runs the tests that must notice it, in a
 * sandbox of bubblewrap: without the defence nothing else stops the attacks. Prints how many tests fail
 * for each. Returns whether each defence was noticed. `only` selects defences whose name contains it.
 */
export async function mutate(only = ""): Promise<boolean> {
  const all = await readDefences();
  for (const defence of all) without(defence, await readFile(join(root, defence.file), "utf8"));
  const chosen = all.filter(({ defence }) => defence.includes(only));
  const copy = await realpath(await mkdtemp(join(tmpdir(), "picoclaw-mutants-")));
  try {
    await copyTo(copy);
    const tests = createTests(copy);
    const unnoticed: string[] = [];
    for (const defence of chosen) {
      const seen = await seenBy(defence, copy, tests);
      if (seen.length === 0) unnoticed.push(defence.defence);
      console.log(lineOf(defence, seen));
    }
    console.log(`\n${chosen.length} defences removed, ${unnoticed.length} noticed by no test`);
    for (const name of unnoticed) console.log(`not noticed: ${name}`);
    return chosen.length > 0 && unnoticed.length === 0;
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

/** The tests that fail twice without the defence and pass with it: on a busy machine some fail by chance. */
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
    if (failed === undefined) throw new Error(`${entry} cannot run`);
    for (const name of failed) names.add(name);
  }
  return names;
}

interface Tests {
  readonly run: (entry: string) => Promise<Failed>;
  /** The same with every defence; runs once for each file. */
  readonly before: (entry: string) => Promise<Failed>;
}

function createTests(copy: string): Tests {
  const results = new Map<string, Promise<Failed>>();
  const run = (entry: string): Promise<Failed> => failedIn(copy, entry);
  return {
    run,
    before(entry) {
      const failed = results.get(entry) ?? run(entry);
      results.set(entry, failed);
      return failed;
    },
  };
}

async function failedIn(copy: string, entry: string): Promise<Failed> {
  const { file, only } = testOf(entry);
  const args = ["test", "--timeout", "60000", file, ...(only === "" ? [] : ["-t", only])];
  const [program = "", ...around] = [...PID_NAMESPACE, "bwrap", ...sandboxArgs(copy)];
  const child = spawn(program, [...around, process.execPath, ...args], {
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
  // A source that cannot be loaded does not count as a noticed defence.
  if (names.length === 0 || /^error: .*(?:SyntaxError|Cannot find)/m.test(text)) {
    console.error(text.slice(-2_000));
    return undefined;
  }
  return new Set(names.filter(([line]) => line.startsWith("(fail)")).map(([, name = ""]) => name));
}

const isRoot = process.getuid?.() === 0;

/**
 * A PID namespace: all processes that a mutant leaves, even a fork bomb, end with its tests. Only for root;
 * for other users an inner sandbox would not start in it.
 */
const PID_NAMESPACE = isRoot ? "unshare --pid --fork --kill-child --mount-proc".split(" ") : [];

/** Everything is read-only except the copy, and there is no network. */
function sandboxArgs(copy: string): readonly string[] {
  return [
    ..."--die-with-parent --unshare-net --ro-bind / / --dev /dev".split(" "),
    // The machine's /proc: with a new one an inner sandbox could not mount its own.
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
