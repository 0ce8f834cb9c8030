import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { join, dirname } from "node:path";
import { jsonLine } from "../../base/escape-control.ts";
import { at, textAt } from "../../base/unknown.ts";
import { VERSION } from "../../base/version.ts";
import type { Context } from "../context.ts";

/** `picoclaw version`: prints version, runtime and platform; with --licenses the licences of all parts. */
export async function run({ host, flags }: Context): Promise<number> {
  const { runtime, platform } = host;
  if (flags.has("licenses")) {
    await host.stdout.write(await licensesShown(flags.has("json")));
    return 0;
  }
  await host.stdout.write(
    flags.has("json")
      ? jsonLine({ v: 1, type: "version", version: VERSION, runtime, platform })
      : `picoclaw ${VERSION} (${runtime}, ${platform})\n`,
  );
  return 0;
}

async function licensesShown(isJson: boolean): Promise<string> {
  const all = await licenses();
  if (!isJson) return licensesText(all);
  return all.map((one) => jsonLine({ v: 1, type: "license", ...one })).join("");
}

/** Of a package in the program, or of the program itself. */
type Licensed = Pick<InstalledPackage, "name" | "version" | "license" | "text">;

/** Set only by `scripts/build.ts`: the licences in the binary, as JSON in gzip and base64. */
declare const PICOCLAW_LICENSES: string | undefined;

/**
 * The licences of the program and its packages, its own first. A binary contains them; from source they are
 * read from the installed packages.
 */
async function licenses(): Promise<readonly Licensed[]> {
  if (typeof PICOCLAW_LICENSES === "string") {
    const { gunzipSync } = await import("node:zlib");
    const built: readonly Licensed[] = JSON.parse(
      gunzipSync(Buffer.from(PICOCLAW_LICENSES, "base64")).toString("utf8"),
    );
    return built;
  }
  const packages = await withDependencies(join(import.meta.dirname, "../../.."));
  return packages.map(({ name, version, license, text }) => {
    return { name, version, license, text: text || whereTextIs(license) };
  });
}

function whereTextIs(license: string): string {
  return `The package has no file with the text of its licence: https://spdx.org/licenses/${license}.html`;
}

/** A list of all licences, then their texts. */
function licensesText(all: readonly Licensed[]): string {
  const widest = Math.max(...all.map((one) => titleOf(one).length));
  const list = all.map((one) => `${titleOf(one).padEnd(widest)}  ${one.license}`);
  const texts = all.map((one) => `${titleOf(one)}: ${one.license}\n\n${one.text}`);
  return `${[list.join("\n"), ...texts].join(`\n\n${"-".repeat(78)}\n\n`)}\n`;
}

function titleOf({ name, version }: Licensed): string {
  return version === "" ? name : `${name} ${version}`;
}

/** The facts of an installed package for its licence. */
export interface InstalledPackage {
  /** Its folder, with links resolved. */
  readonly folder: string;
  readonly name: string;
  readonly version: string;
  /** An SPDX expression; "" if the package names none. */
  readonly license: string;
  /** The text of its licence files; "" if there are none. */
  readonly text: string;
  /** Names of its dependencies, including optional ones. */
  readonly dependencies: readonly string[];
}

/** The package in a folder, then all its installed dependencies by name. */
async function withDependencies(root: string): Promise<readonly InstalledPackage[]> {
  const own = await readPackage(root);
  const found = new Map([[own.folder, own]]);
  for (const { folder, dependencies } of found.values()) {
    for (const name of dependencies) {
      const place = await folderOf(name, folder);
      if (place !== undefined && !found.has(place)) found.set(place, await readPackage(place));
    }
  }
  return [own, ...[...found.values()].filter((each) => each !== own).toSorted(byName)];
}

const LICENSE_FILE = /^(?:licen[cs]e|copying|notice|unlicense)(?:[.-]|$)/i;

/** Reads the package in a folder; throws if there is none. */
export async function readPackage(place: string): Promise<InstalledPackage> {
  const folder = await realpath(place);
  const manifest: unknown = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  const names = (await readdir(folder)).filter((name) => LICENSE_FILE.test(name)).toSorted();
  const texts = await Promise.all(names.map((name) => readFile(join(folder, name), "utf8")));
  return {
    folder,
    name: String(at(manifest, "name")),
    version: String(at(manifest, "version")),
    license: licenseIn(manifest),
    text: texts.map((text) => text.replaceAll("\r\n", "\n").trim()).join("\n\n"),
    dependencies: ["dependencies", "optionalDependencies"].flatMap((key) =>
      Object.keys(Object(at(manifest, key))),
    ),
  };
}

/** Compares packages by name and version, independent of the locale. */
export function byName(left: InstalledPackage, right: InstalledPackage): number {
  const [first, second] = [`${left.name} ${left.version}`, `${right.name} ${right.version}`];
  return first === second ? 0 : first < second ? -1 : 1;
}

/** The folder of a dependency: in node_modules of the package or of a folder above it. */
export async function folderOf(name: string, from: string): Promise<string | undefined> {
  for (let folder = from; ; folder = dirname(folder)) {
    const place = join(folder, "node_modules", name);
    if (await isRegularFile(join(place, "package.json"))) return await realpath(place);
    if (folder === dirname(folder)) return undefined;
  }
}

async function isRegularFile(path: string): Promise<boolean> {
  return await stat(path).then(
    (facts) => facts.isFile(),
    () => false,
  );
}

/** `"MIT"`, or one of the old forms `{"type": "MIT"}` and `[{"type": "MIT"}]`. */
function licenseIn(manifest: unknown): string {
  const written = at(manifest, "license") ?? at(manifest, "licenses");
  const all: readonly unknown[] = Array.isArray(written) ? written : [written];
  const names = all.map((one) => (typeof one === "string" ? one : textAt(one, "type")));
  return names.filter((name) => name !== "").join(" OR ");
}
