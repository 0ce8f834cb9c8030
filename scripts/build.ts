import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import type { BuildConfig } from "bun";
import type { InstalledPackage } from "../src/cli/commands/version.ts";
import { readPackage } from "../src/cli/commands/version.ts";
import { manPage } from "../src/cli/help/man.ts";
import { definesOf } from "./bundle/defines.ts";
import { lawful, shippedPackages } from "./bundle/packages.ts";
import type { Metafile } from "./bundle/packages.ts";
import { sbomOf } from "./bundle/sbom.ts";
import type { LockFile } from "./bundle/sbom.ts";
import { standIns } from "./bundle/stand-ins.ts";
import { programOf, runtimeOf, targetNamed } from "./release/targets.ts";

/**
 * `npm run build [-- --out FOLDER]`: makes dist/picoclaw: one file, commands in chunks of their own, so that each
 * loads what it uses; and dist/picoclaw.cdx.json, which says what is in it. With --target NAME it makes them for
 * another machine. With --faults it makes dist/picoclaw-faults, which tests can let die at named points. With
 * --files FOLDER it makes only the bundle, as files with their source maps, for tests that look into it.
 */
const root = join(import.meta.dirname, "..");
const { values } = parseArgs({
  options: {
    faults: { type: "boolean", default: false },
    out: { type: "string" },
    files: { type: "string" },
    target: { type: "string" },
  },
});
const machine = values.target === undefined ? undefined : targetNamed(values.target);
const folder = resolve(values.out ?? join(root, "dist"));
const target = join(
  folder,
  values.faults ? "picoclaw-faults" : machine === undefined ? "picoclaw" : programOf(machine),
);
const files = values.files === undefined ? undefined : resolve(values.files);
const COMMON: BuildConfig = {
  entrypoints: [join(root, "src/main.ts")],
  target: "bun",
  minify: true,
  format: "esm",
  splitting: true,
  // Each chunk that is loaded costs memory by itself.
  minChunkSize: 16_384,
  metafile: true,
  plugins: [standIns],
};
// Paths in what the bundler writes are relative to it.
process.chdir(root);
if (files === undefined) await makeBinary();
else await bundle({ outdir: files, sourcemap: "external" });

async function makeBinary(): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const own = await readPackage(root);
  const packages = await lawful(await shippedPackages(await bundle({}), root));
  const compiled = await bundle({
    bytecode: true,
    define: {
      ...(await definesOf(root, [own, ...packages], process.versions.bun)),
      ...(values.faults && { PICOCLAW_FAULTS: "true" }),
    },
    compile: {
      outfile: target,
      ...(machine && { target: machine.compile, executablePath: runtimeOf(machine, root) }),
      // Commands end before compiled code pays; the gateway sets this back to 1.
      jitPolicy: 30,
      // `npm run profile` writes it.
      bytecodeOrder: join(root, "scripts/bundle/start.order"),
      // A binary must not obey files of the folder that it happens to be started in.
      autoloadDotenv: false,
      autoloadBunfig: false,
    },
  });
  const inBinary = await shippedPackages(compiled, root);
  if (namesOf(inBinary) !== namesOf(packages)) {
    throw new Error(`the binary holds other packages than are listed: ${namesOf(inBinary)}`);
  }
  if (!values.faults) {
    await writeSbom(own, packages);
    writeFileSync(join(folder, "picoclaw.1"), manPage());
  }
  console.log(`${relative(root, target)}, ${(statSync(target).size / 2 ** 20).toFixed(0)} MiB`);
}

async function bundle(more: Partial<BuildConfig>): Promise<Metafile> {
  const { metafile = { outputs: {} } } = await Bun.build({ ...COMMON, ...more });
  return metafile;
}

function namesOf(all: readonly InstalledPackage[]): string {
  return all.map(({ name, version }) => `${name} ${version}`).join(", ");
}

async function writeSbom(
  own: InstalledPackage,
  packages: readonly InstalledPackage[],
): Promise<void> {
  const lock: LockFile = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
  const runtime = {
    version: process.versions.bun,
    platform: machine?.platform ?? process.platform,
    arch: machine?.arch ?? process.arch,
  };
  const options = { own, packages, lock, runtime, binary: readFileSync(target) };
  writeFileSync(join(folder, "picoclaw.cdx.json"), await sbomOf(options));
}
