import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  linkSync,
  readdirSync,
  readFileSync,
  rmSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * Puts Bun where `bun` is looked for. The package `bun` does that with an install script; where scripts
 * are not run (`npm ci --ignore-scripts`, as is wise) only a notice stands there, although the runtime
 * itself came with npm, too, in a package for this platform. For node, because nothing else runs yet.
 */
const modules = join(dirname(fileURLToPath(import.meta.url)), "../node_modules");
const place = join(modules, "bun/bin/bun.exe");
if (!existsSync(join(modules, "bun"))) {
  console.error("error: the packages are not installed\ntry: npm ci");
  process.exit(1);
}
const { version } = JSON.parse(readFileSync(join(modules, "bun/package.json"), "utf8"));

if (!runs(place)) {
  const found = candidates().find(runs);
  if (found === undefined) {
    console.error(
      `error: no package in node_modules/@oven holds a Bun ${version} for this machine`,
    );
    console.error("try: npm ci, without --omit=optional");
    process.exit(1);
  }
  rmSync(place, { force: true });
  try {
    linkSync(found, place);
  } catch {
    copyFileSync(found, place);
    chmodSync(place, 0o755);
  }
}

/** @param {string} file */
function runs(file) {
  const { stdout } = spawnSync(file, ["--version"], { encoding: "utf8", timeout: 10_000 });
  return stdout?.trim() === version;
}

function candidates() {
  const names = readdirSync(join(modules, "@oven")).filter((name) => name.startsWith("bun-"));
  return names.flatMap((name) =>
    ["bun", "bun.exe"].map((file) => join(modules, "@oven", name, "bin", file)),
  );
}
