import { chmodSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BuildConfig } from "bun";
import { readPackage } from "../../src/cli/commands/version.ts";
import { readPages } from "../../src/cli/help/topics.ts";
import { noticesOf } from "../bundle/notices.ts";
import { lawful, shippedPackages } from "../bundle/packages.ts";
import { pageFiles } from "../bundle/page.ts";
import { standIns } from "../bundle/stand-ins.ts";
import { run } from "./targets.ts";

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
  const licenses = await noticesOf([await readPackage(root), ...packages]);
  const define = {
    PICOCLAW_LICENSES: JSON.stringify(licenses),
    PICOCLAW_PAGES: JSON.stringify(await readPages(root)),
    PICOCLAW_PAGE: JSON.stringify(await pageFiles()),
  };
  await Bun.build({ ...options, outdir: folder, define });
  chmodSync(join(folder, "picoclaw.js"), 0o755);
  for (const file of ["LICENSE", "README.md", "CHANGELOG.md"]) {
    cpSync(join(root, file), join(folder, file));
  }
  const own = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const { name, version, description, license, engines } = own;
  const bin = { picoclaw: "picoclaw.js" };
  const manifest = { name, version, description, license, type: "module", bin, engines };
  writeFileSync(join(folder, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  run("npm", ["pack", "--silent", "--pack-destination", out], folder);
  rmSync(folder, { recursive: true });
}
