import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { runTool } from "./run-tool.ts";

/**
 * `npm run quick [-- --since REF]`: types, lint, format, dead code, and under Bun the tests of what changed
 * since the last commit (of the last commit itself where nothing did). Ends with 1 where one of them fails.
 * End-to-end tests and fault tests are for `npm run check`.
 */
const root = join(import.meta.dirname, "..");
const SLOW = /^test\/(?:e2e|faults|support)\//;

const since = process.argv[2] === "--since" ? process.argv[3] : undefined;
const changed = changedFiles(since);
const tests = testsOf(changed);
const steps: readonly (readonly [name: string, command: readonly string[]])[] = [
  ["types", ["tsc"]],
  ["lint", ["oxlint", "--type-aware", "--deny-warnings"]],
  ["format", ["oxfmt", "--check"]],
  ["dead code", ["knip", "--config", ".knip.json", "--no-config-hints"]],
  ...(tests.length > 0
    ? [[`${tests.length} test files`, ["bun", "test", "--timeout", "60000", ...tests]] as const]
    : []),
];
const results = await Promise.all(steps.map(([name, command]) => run(name, command)));
process.exitCode = results.every(Boolean) ? 0 : 1;

/** Paths from the root, with slashes. */
function changedFiles(ref: string | undefined): readonly string[] {
  const from = ref ?? "HEAD";
  const found = [
    ...git("diff", "--name-only", from),
    ...git("ls-files", "--others", "--exclude-standard"),
  ];
  return found.length > 0 ? found : git("diff", "--name-only", "HEAD~1");
}

function git(...args: readonly string[]): readonly string[] {
  const { stdout, status, stderr } = spawnSync("git", args, { cwd: root, encoding: "utf8" });
  if (status !== 0) throw new Error(stderr);
  return stdout.split("\n").filter((line) => line !== "");
}

/** The tests that changed, those that import what changed, and those in the folder that mirrors its folder. */
function testsOf(files: readonly string[]): readonly string[] {
  const folders = new Set(files.filter((file) => file.startsWith("src/")).map(mirrorOf));
  const all = readdirSync(join(root, "test"), { recursive: true, encoding: "utf8" })
    .map((file) => join("test", file))
    .filter((file) => file.endsWith(".test.ts") && !SLOW.test(file));
  return all.filter(
    (file) =>
      file === "test/architecture.test.ts" ||
      files.includes(file) ||
      [...folders].some((folder) => dirname(file) === folder) ||
      importsOf(file).some((imported) => files.includes(imported)),
  );
}

/** `src/a/b/c.ts` → `test/a/b`, or the nearest folder above it that is there. */
function mirrorOf(file: string): string {
  let folder = dirname(file).replace(/^src/, "test");
  while (!existsSync(join(root, folder))) folder = dirname(folder);
  return folder;
}

function importsOf(file: string): readonly string[] {
  const text = readFileSync(join(root, file), "utf8");
  return [...text.matchAll(/from "(\.[^"]+)"/g)].map(([, path = ""]) =>
    relative(root, join(root, dirname(file), path)),
  );
}

/** Prints what a step says where it fails, and how long it took. */
async function run(name: string, command: readonly string[]): Promise<boolean> {
  const [tool = "", ...rest] = command;
  const begin = performance.now();
  const program = join(root, "node_modules/.bin", tool);
  const { text, code } = await runTool(root, [program, ...rest], "bun");
  const took = ((performance.now() - begin) / 1000).toFixed(1);
  const shown = text
    .split("\n")
    .filter((line) => !/^\(pass\)|^$/.test(line))
    .join("\n");
  console.log(code === 0 ? `${name}: ok, ${took} s` : `${name}: FAILED, ${took} s\n${shown}`);
  return code === 0;
}
