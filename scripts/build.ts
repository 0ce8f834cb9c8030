import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import type { InstalledPackage } from "../src/cli/commands/version.ts";
import { readPackage } from "../src/cli/commands/version.ts";
import { bundledPackages, lawful } from "./bundle/packages.ts";
import type { Metafile } from "./bundle/packages.ts";
import { RUNTIME_LICENSE, runtimeNotice } from "./bundle/runtime.ts";
import { sbomOf } from "./bundle/sbom.ts";
import type { LockFile } from "./bundle/sbom.ts";

/**
 * `npm run build [-- --out FOLDER]`: makes dist/picoclaw: one file, commands in chunks of their own, so that each loads what it uses; and
 * dist/picoclaw.cdx.json, which says what is in it. With --faults it makes dist/picoclaw-faults, which
 * tests can let die at named points.
 */
const root = join(import.meta.dirname, "..");
const { values } = parseArgs({
  options: { faults: { type: "boolean", default: false }, out: { type: "string" } },
});
const folder = resolve(values.out ?? join(root, "dist"));
const target = join(folder, values.faults ? "picoclaw-faults" : "picoclaw");
const COMMON = [
  "build",
  join(root, "src/main.ts"),
  "--target=bun",
  "--minify",
  "--format=esm",
  "--splitting",
  // Packages that bring streams of their own use those of the runtime, which is loaded anyway.
  "--define",
  'process.env.READABLE_STREAM="disable"',
];
mkdirSync(folder, { recursive: true });

const own = await readPackage(root);
const packages = await lawful(await bundledPackages(bundle(["--outdir"]), root));
const entries = [
  own,
  ...packages,
  {
    name: "bun",
    version: process.versions.bun,
    license: RUNTIME_LICENSE,
    text: await runtimeNotice(process.versions.bun),
  },
].map(({ name, version, license, text }) => ({ name, version, license, text }));
const compiled = bundle([
  "--compile",
  "--bytecode",
  // Commands end before compiled code pays; the gateway sets this back to 1.
  "--compile-jit-policy=30",
  // A binary must not obey files of the folder that it happens to be started in.
  "--no-compile-autoload-dotenv",
  "--no-compile-autoload-bunfig",
  ...(values.faults ? ["--define", "PICOCLAW_FAULTS=true"] : []),
  "--define",
  `PICOCLAW_LICENSES="${gzipSync(JSON.stringify(entries), { level: 9 }).toString("base64")}"`,
  "--outfile",
]);
const inBinary = await bundledPackages(compiled, root);
if (namesOf(inBinary) !== namesOf(packages)) {
  throw new Error(`the binary holds other packages than are listed: ${namesOf(inBinary)}`);
}
if (!values.faults) await writeSbom();
console.log(`${relative(root, target)}, ${(statSync(target).size / 2 ** 20).toFixed(0)} MiB`);

/** Runs the bundler; the last flag is given where the result goes: the binary, or a folder that is thrown away. */
function bundle(flags: readonly string[]): Metafile {
  const scratch = mkdtempSync(join(tmpdir(), "picoclaw-build-"));
  const metafile = join(scratch, "meta.json");
  const place = flags.at(-1) === "--outfile" ? target : join(scratch, "out");
  const all = [...COMMON, `--metafile=${metafile}`, ...flags, place];
  try {
    const { status } = spawnSync(process.execPath, all, {
      stdio: ["ignore", "ignore", "inherit"],
      cwd: root,
    });
    if (status !== 0) process.exit(status ?? 1);
    const read: Metafile = JSON.parse(readFileSync(metafile, "utf8"));
    return read;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function namesOf(all: readonly InstalledPackage[]): string {
  return all.map(({ name, version }) => `${name} ${version}`).join(", ");
}

async function writeSbom(): Promise<void> {
  const lock: LockFile = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
  const runtime = {
    version: process.versions.bun,
    platform: process.platform,
    arch: process.arch,
  };
  const options = { own, packages, lock, runtime, binary: readFileSync(target) };
  writeFileSync(join(folder, "picoclaw.cdx.json"), await sbomOf(options));
}
