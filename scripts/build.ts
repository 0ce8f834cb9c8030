import { spawnSync } from "node:child_process";
import { mkdirSync, statSync } from "node:fs";
import { join, relative } from "node:path";

/**
 * Makes dist/picoclaw: one file, commands in chunks of their own, so that each loads what it uses.
 * With --faults it makes dist/picoclaw-faults, which tests can let die at named points.
 */
const root = join(import.meta.dirname, "..");
const faults = process.argv.includes("--faults");
const target = join(root, faults ? "dist/picoclaw-faults" : "dist/picoclaw");
mkdirSync(join(root, "dist"), { recursive: true });

const flags = [
  "--compile",
  "--minify",
  "--bytecode",
  "--format=esm",
  "--splitting",
  // A binary must not obey files of the folder that it happens to be started in.
  "--no-compile-autoload-dotenv",
  "--no-compile-autoload-bunfig",
  ...(faults ? ["--define", "PICOCLAW_FAULTS=true"] : []),
];
const { status } = spawnSync(
  process.execPath,
  ["build", ...flags, join(root, "src/main.ts"), "--outfile", target],
  { stdio: ["ignore", "ignore", "inherit"], cwd: root },
);
if (status !== 0) process.exit(status ?? 1);
console.log(`${relative(root, target)}, ${(statSync(target).size / 2 ** 20).toFixed(0)} MiB`);
