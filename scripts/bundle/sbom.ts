import { createHash } from "node:crypto";
import type { InstalledPackage } from "../../src/cli/commands/version.ts";
import { folderOf } from "../../src/cli/commands/version.ts";
import { LINKED } from "./runtime.ts";

/** The lock file, as far as it is used here. */
export interface LockFile {
  readonly packages: Readonly<
    Record<string, { readonly version?: string; readonly integrity?: string }>
  >;
}

export interface SbomOptions {
  /** The program itself. */
  readonly own: InstalledPackage;
  readonly packages: readonly InstalledPackage[];
  readonly lock: LockFile;
  readonly runtime: { readonly version: string; readonly platform: string; readonly arch: string };
  /** The bytes of the binary that is described. */
  readonly binary: Uint8Array;
}

/**
 * What is in the binary, in CycloneDX 1.6 (ECMA-424): the program, the packages of which it holds code,
 * the runtime and what that is linked with. The same build gives the same text: the serial number is
 * made of the content, and there is no time in it.
 */
export async function sbomOf(options: SbomOptions): Promise<string> {
  const { own, packages, binary } = options;
  const program = {
    type: "application",
    "bom-ref": `pkg:generic/${own.name}@${own.version}`,
    name: own.name,
    version: own.version,
    hashes: [{ alg: "SHA-512", content: createHash("sha512").update(binary).digest("hex") }],
    licenses: licensesOf(own.license),
    purl: `pkg:generic/${own.name}@${own.version}`,
  };
  const runtime = runtimeOf(options);
  const content = {
    version: 1,
    metadata: { lifecycles: [{ phase: "build" }], component: program },
    components: [...packages.map((each) => libraryOf(each, options.lock)), runtime],
    dependencies: [
      {
        ref: program["bom-ref"],
        dependsOn: [...(await dependenciesOf(own, packages)), runtime["bom-ref"]],
      },
      ...(await Promise.all(
        packages.map(async (each) => ({
          ref: purlOf(each),
          dependsOn: await dependenciesOf(each, packages),
        })),
      )),
      { ref: runtime["bom-ref"], dependsOn: [] },
    ],
    compositions: [{ aggregate: "complete", assemblies: [program["bom-ref"]] }],
  };
  const head = {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${uuidOf(JSON.stringify(content))}`,
  };
  return `${JSON.stringify({ ...head, ...content }, null, 2)}\n`;
}

/** RFC 9562 section 5.8: a UUID of our own making, out of a digest. */
function uuidOf(text: string): string {
  const hex = createHash("sha256").update(text).digest("hex");
  const variant = ((Number.parseInt(hex.charAt(16), 16) & 0x3) | 0x8).toString(16);
  const parts = [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`];
  return [...parts, `${variant}${hex.slice(17, 20)}`, hex.slice(20, 32)].join("-");
}

function libraryOf(each: InstalledPackage, lock: LockFile) {
  const { name, version, license } = each;
  const purl = purlOf(each);
  return {
    type: "library",
    "bom-ref": purl,
    name,
    version,
    scope: "required",
    hashes: hashesOf(integrityOf(each, lock)),
    licenses: licensesOf(license),
    purl,
  };
}

/** The runtime comes out of a package for this very platform. */
function runtimeOf({ runtime: { version, platform, arch }, lock }: SbomOptions) {
  const name = `@oven/bun-${platform}-${arch === "arm64" ? "aarch64" : arch}`;
  const { integrity } =
    lock.packages[`node_modules/${name}`] ?? lock.packages["node_modules/bun"] ?? {};
  const purl = purlOf({ name, version });
  return {
    type: "platform",
    "bom-ref": purl,
    name: "bun",
    version,
    scope: "required",
    hashes: hashesOf(integrity),
    licenses: licensesOf("MIT"),
    purl,
    externalReferences: [{ type: "vcs", url: "https://github.com/oven-sh/bun" }],
    components: LINKED.map(({ name: linked, license, source }) => ({
      type: "library",
      "bom-ref": `${purl}#${encodeURIComponent(linked)}`,
      name: linked,
      licenses: licensesOf(license),
      externalReferences: [{ type: "vcs", url: source }],
    })),
  };
}

/** `pkg:npm/%40babel/runtime@7.29.14` (package-url/purl-spec, type npm). */
function purlOf({ name, version }: Pick<InstalledPackage, "name" | "version">): string {
  return `pkg:npm/${name.replace("@", "%40")}@${version}`;
}

async function dependenciesOf(
  { dependencies, folder }: InstalledPackage,
  packages: readonly InstalledPackage[],
): Promise<string[]> {
  const places = await Promise.all(dependencies.map((name) => folderOf(name, folder)));
  const used = packages.filter((each) => places.includes(each.folder));
  return used.map(purlOf);
}

/** What the lock file says of the archive that the package came in. */
function integrityOf({ folder, name, version }: InstalledPackage, { packages }: LockFile): string {
  // The paths of the lock file begin at the program's own node_modules, wherever that is.
  const starts = [...folder.matchAll(/\bnode_modules\//g)].map(({ index }) => index);
  const entries = starts.map((start) => packages[folder.slice(start)]);
  const integrity = entries.find((entry) => entry?.version === version)?.integrity;
  if (integrity !== undefined) return integrity;
  throw new Error(`${name} ${version} is not what package-lock.json names: npm ci`);
}

/** Subresource Integrity (`sha512-` and base64) as CycloneDX has it. */
function hashesOf(integrity: string | undefined) {
  const [, digest] = /^sha512-(\S+)$/.exec(integrity ?? "") ?? [];
  if (digest === undefined) return [];
  return [{ alg: "SHA-512", content: Buffer.from(digest, "base64").toString("hex") }];
}

function licensesOf(license: string) {
  return / (?:AND|OR|WITH) /.test(license)
    ? [{ expression: license }]
    : [{ license: { id: license } }];
}
