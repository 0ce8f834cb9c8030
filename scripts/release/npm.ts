import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BuildConfig } from "bun";
import { readPackage } from "../../src/cli/commands/version.ts";
import { definesOf } from "../bundle/defines.ts";
import { lawful, shippedPackages } from "../bundle/packages.ts";
import { standIns } from "../bundle/stand-ins.ts";
import { copyTexts, run } from "./targets.ts";

/** Makes picoclaw-VERSION.tgz: the program as one bundle, for node, Bun and Deno, without dependencies. */
export async function makeNpmPackage({ root, out }: { root: string; out: string }): Promise<void> {
  const folder = join(out, "npm");
  mkdirSync(folder, { recursive: true });
  const options: BuildConfig = {
    entrypoints: [join(root, "src/main.ts")],
    naming: { entry: "picoclaw.js", chunk: "[name]-[hash].js" },
    target: "node",
    external: ["bun:*"],
    minify: { whitespace: true, syntax: true },
    format: "esm",
    splitting: true,
    plugins: [standIns],
    banner: "#!/usr/bin/env node",
    metafile: true,
  };
  const { metafile = { outputs: {} } } = await Bun.build(options);
  const packages = await lawful(await shippedPackages(metafile, root));
  const define = await definesOf(root, [await readPackage(root), ...packages]);
  await Bun.build({ ...options, outdir: folder, define });
  chmodSync(join(folder, "picoclaw.js"), 0o755);
  copyTexts(root, folder);
  const own = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const { name, version, description, license, engines } = own;
  const bin = { picoclaw: "picoclaw.js" };
  const manifest = { name, version, description, license, type: "module", bin, engines };
  writeFileSync(join(folder, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  run("npm", ["pack", "--silent", "--pack-destination", out], folder);
  rmSync(folder, { recursive: true });
}
