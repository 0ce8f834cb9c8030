import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { makeDebianPackage } from "./release/debian.ts";
import { formulaOf } from "./release/homebrew.ts";
import { makeNpmPackage } from "./release/npm.ts";
import { copyTexts, programOf, run, TARGETS, targetNamed } from "./release/targets.ts";
import type { Target } from "./release/targets.ts";

/**
 * `npm run release [-- --out FOLDER --only TARGET… --url URL]`: makes everything that a release hands out, in
 * dist/release: an archive and a bill of materials for each target, Debian packages, the npm package, what a
 * container and a Home Assistant add-on are built from, install.sh, a Homebrew formula, SHA256SUMS. `--url` is the
 * folder on the web that these files will be in; it stands in install.sh and in the formula.
 */
const root = join(import.meta.dirname, "..");
const { values } = parseArgs({
  options: {
    out: { type: "string", default: join(root, "dist/release") },
    only: { type: "string", multiple: true },
    url: { type: "string" },
  },
});
const out = resolve(values.out);
const targets = values.only?.map(targetNamed) ?? TARGETS;
const { url } = values;
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
for (const target of targets) makeArchive(target);
await makeNpmPackage({ root, out });
copyRecipes();
// What names checksums comes last, and SHA256SUMS at the very end.
const sums = sumsOfAll();
if (url !== undefined && targets.some(({ platform }) => platform === "darwin")) {
  const formula = join(out, "picoclaw.rb");
  writeFileSync(formula, formulaOf({ version, url, sums }));
  sums.set("picoclaw.rb", sha256(formula));
}
writeSums();
console.log(`${relative(root, out)}: ${readdirSync(out).join(" ")}`);

/** The program with what must go along, as a tar archive; of some also as a Debian package. */
function makeArchive(target: Target): void {
  const name = `picoclaw-${target.name}`;
  const folder = join(out, name);
  const bun = process.execPath;
  run(bun, ["scripts/build.ts", "--target", target.name, "--out", folder], root);
  cpSync(join(folder, "picoclaw.cdx.json"), join(out, `${name}.cdx.json`));
  rmSync(join(folder, "picoclaw.cdx.json"));
  copyTexts(root, folder);
  pack(name);
  const program = join(folder, programOf(target));
  const debian = { "linux-x64": "amd64", "linux-arm64": "arm64" }[target.name];
  if (debian !== undefined) {
    makeDebianPackage({ root, out, program, version, architecture: debian });
  }
  rmSync(folder, { recursive: true });
}

/** The same files give the same archive, whoever makes it and when. */
function pack(name: string): void {
  const same = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"];
  const options = [...same, "--use-compress-program=gzip -n", "-C", out];
  run("tar", ["-cf", join(out, `${name}.tar.gz`), ...options, name]);
}

/** What others build from, and the script that installs. */
function copyRecipes(): void {
  const from = join(root, "scripts/release");
  const script = readFileSync(join(from, "install.sh"), "utf8");
  const placed = url === undefined ? script : script.replace("@URL@", url);
  writeFileSync(join(out, "install.sh"), placed, { mode: 0o755 });
  cpSync(join(from, "Dockerfile"), join(out, "Dockerfile"));
  const addOn = join(out, "home-assistant-add-on");
  cpSync(join(from, "home-assistant-add-on"), addOn, { recursive: true });
  const config = join(addOn, "config.yaml");
  writeFileSync(config, readFileSync(config, "utf8").replace("@VERSION@", version));
}

/** SHA-256 of each file of the release. */
function sumsOfAll(): Map<string, string> {
  const files = readdirSync(out, { withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(files.map(({ name }) => [name, sha256(join(out, name))]));
}

function sha256(file: string): string {
  return createHash("sha256").update(readFileSync(file)).digest("hex");
}

/** In the form of sha256sum. */
function writeSums(): void {
  const names = [...sums.keys()].toSorted();
  const lines = names.map((name) => `${sums.get(name)}  ${name}\n`);
  writeFileSync(join(out, "SHA256SUMS"), lines.join(""));
}
