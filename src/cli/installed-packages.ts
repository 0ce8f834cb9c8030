import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { dirname, join } from "node:path";

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

const LICENSE_FILE = /^(?:licen[cs]e|copying|notice|unlicense)(?:[.-]|$)/i;

/** Reads the package in a folder; throws if there is none. */
export async function readPackage(place: string): Promise<InstalledPackage> {
  const folder = await realpath(place);
  const manifest = objectOf(JSON.parse(await readFile(join(folder, "package.json"), "utf8")));
  const names = (await readdir(folder)).filter((name) => LICENSE_FILE.test(name)).toSorted();
  const texts = await Promise.all(names.map((name) => readFile(join(folder, name), "utf8")));
  return {
    folder,
    name: String(manifest["name"]),
    version: String(manifest["version"]),
    license: licenseIn(manifest),
    text: texts.map((text) => text.replaceAll("\r\n", "\n").trim()).join("\n\n"),
    dependencies: [
      ...Object.keys(objectOf(manifest["dependencies"])),
      ...Object.keys(objectOf(manifest["optionalDependencies"])),
    ],
  };
}

/** The package in a folder, then all its installed dependencies by name. */
export async function withDependencies(root: string): Promise<readonly InstalledPackage[]> {
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
function licenseIn(manifest: Record<string, unknown>): string {
  const written = manifest["license"] ?? manifest["licenses"];
  const all = Array.isArray(written) ? written : [written];
  const names = all.map((one: unknown) => (typeof one === "string" ? one : objectOf(one)["type"]));
  return names.filter((name) => typeof name === "string" && name !== "").join(" OR ");
}

function objectOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value))
    : {};
}
