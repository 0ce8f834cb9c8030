import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import {
  cp,
  mkdtemp,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, describe, it } from "node:test";

const root = join(import.meta.dirname, "../..");
const bun = join(root, "node_modules/.bin/bun");

interface Component {
  readonly type: string;
  readonly "bom-ref": string;
  readonly name: string;
  readonly version?: string;
  readonly purl?: string;
  readonly hashes?: readonly { readonly alg: string; readonly content: string }[];
  readonly licenses: readonly (
    | { readonly license: { readonly id: string } }
    | { readonly expression: string }
  )[];
  readonly components?: readonly Component[];
}

interface Bom {
  readonly bomFormat: string;
  readonly specVersion: string;
  readonly serialNumber: string;
  readonly version: number;
  readonly metadata: { readonly component: Component };
  readonly components: readonly Component[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[];
  readonly compositions: readonly { readonly assemblies: readonly string[] }[];
}

interface LicenseLine {
  readonly type: string;
  readonly name: string;
  readonly version: string;
  readonly license: string;
  readonly text: string;
}

function build(cwd: string, out: string) {
  return spawnSync(bun, ["scripts/build.ts", "--out", out], { cwd, encoding: "utf8" });
}

/** The names of the packages that the source maps of a bundle tell of, which the build does not read. */
async function packagesInSourceMaps(folder: string): Promise<string[]> {
  const made = spawnSync(bun, ["scripts/build.ts", "--files", folder], { cwd: root });
  assert.equal(made.status, 0);
  const maps = (await readdir(folder)).filter((name) => name.endsWith(".map"));
  const names = new Set<string>();
  for (const map of maps) {
    const { sources }: { sources: string[] } = JSON.parse(
      await readFile(join(folder, map), "utf8"),
    );
    for (const source of sources) {
      const name = /.*\bnode_modules\/((?:@[^/]+\/)?[^/]+)/.exec(source)?.[1];
      if (name !== undefined) names.add(name);
    }
  }
  return [...names].toSorted();
}

describe("what the build says of its binary", () => {
  let folder: string;
  let bom: Bom;
  let licenses: readonly LicenseLine[];

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "picoclaw-build-test-"));
    const { status, stderr } = build(root, folder);
    assert.equal(status, 0, stderr);
    bom = JSON.parse(await readFile(join(folder, "picoclaw.cdx.json"), "utf8"));
    const args = ["version", "--licenses", "--json"];
    // In a folder where there is no node_modules.
    const shown = spawnSync(join(folder, "picoclaw"), args, { cwd: folder, encoding: "utf8" });
    assert.equal(shown.status, 0, shown.stderr);
    const lines = shown.stdout.trimEnd().split("\n");
    licenses = lines.map((line): LicenseLine => JSON.parse(line));
  });
  after(() => rm(folder, { recursive: true }));

  const nested = (component: Component): Component[] => [
    component,
    ...(component.components ?? []).flatMap(nested),
  ];
  const everything = () => [bom.metadata.component, ...bom.components].flatMap(nested);

  it("is CycloneDX 1.6, as far as its rules can be told without its schema", () => {
    assert.deepEqual([bom.bomFormat, bom.specVersion, bom.version], ["CycloneDX", "1.6", 1]);
    assert.match(
      bom.serialNumber,
      /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
    const known = new Set(["application", "library", "platform"]);
    for (const component of everything()) {
      assert.ok(component.name !== "" && known.has(component.type));
      for (const { alg, content } of component.hashes ?? []) {
        assert.equal(alg, "SHA-512");
        assert.match(content, /^[0-9a-f]{128}$/);
      }
      assert.ok(component.licenses.length > 0, component.name);
      for (const license of component.licenses) {
        // Of expressions there may be one alone, and no ids beside it.
        if ("expression" in license) assert.equal(component.licenses.length, 1);
        else assert.match(license.license.id, /^[\w.-]+$/);
      }
    }
  });

  it("names nothing twice, and refers to nothing that is not there", () => {
    const refs = everything().map((component) => component["bom-ref"]);
    assert.deepEqual([...new Set(refs)], refs);
    const listed = bom.dependencies.map(({ ref }) => ref);
    assert.deepEqual([...new Set(listed)], listed);
    for (const ref of [
      ...listed,
      ...bom.dependencies.flatMap(({ dependsOn }) => dependsOn),
      ...bom.compositions.flatMap(({ assemblies }) => assemblies),
    ]) {
      assert.ok(refs.includes(ref), ref);
    }
  });

  it("leaves no package that nothing depends on", () => {
    const reached = new Set([bom.metadata.component["bom-ref"]]);
    for (const ref of reached) {
      const { dependsOn = [] } = bom.dependencies.find((one) => one.ref === ref) ?? {};
      for (const next of dependsOn) reached.add(next);
    }
    const all = [bom.metadata.component, ...bom.components].map((one) => one["bom-ref"]);
    assert.deepEqual([...reached].toSorted(), all.toSorted());
  });

  it("is about this very binary and this version", async () => {
    const { name, version, hashes } = bom.metadata.component;
    const manifest: { version: string } = JSON.parse(
      await readFile(join(root, "package.json"), "utf8"),
    );
    assert.deepEqual([name, version], ["picoclaw", manifest.version]);
    const digest = createHash("sha512").update(await readFile(join(folder, "picoclaw")));
    assert.equal(hashes?.[0]?.content, digest.digest("hex"));
  });

  it("gives every package with its version, purl and the hash that is locked", async () => {
    const lock: { packages: Record<string, { version: string; integrity: string }> } = JSON.parse(
      await readFile(join(root, "package-lock.json"), "utf8"),
    );
    for (const { name, version, purl, hashes, type } of bom.components) {
      const [, path = ""] = /^pkg:npm\/(.+)@[^@]+$/.exec(purl ?? "") ?? [];
      const locked = lock.packages[`node_modules/${decodeURIComponent(path)}`];
      assert.equal(version, locked?.version, name);
      const hash = Buffer.from(hashes?.[0]?.content ?? "", "hex").toString("base64");
      assert.equal(`sha512-${hash}`, locked?.integrity, name);
      if (type === "library") assert.equal(decodeURIComponent(path), name);
    }
  });

  it("holds the packages of which there is code in the bundle, no more and no fewer", async () => {
    const libraries = bom.components.filter(({ type }) => type === "library");
    const names = libraries.map(({ name }) => name).toSorted();
    // Only the browser runs uplot: its file is in the binary, and no module of the bundle.
    const bundled = await packagesInSourceMaps(join(folder, "maps"));
    assert.deepEqual(names, [...bundled, "uplot"].toSorted());
    assert.ok(names.includes("mqtt") && names.includes("yaml") && !names.includes("typescript"));
  });

  it("holds the runtime, and the JavaScriptCore in it with its licence", () => {
    const runtime = bom.components.find(({ type }) => type === "platform");
    assert.equal(runtime?.name, "bun");
    const engine = runtime.components?.find(({ name }) => name.startsWith("JavaScriptCore"));
    assert.match(JSON.stringify(engine?.licenses), /LGPL-2\.0-or-later/);
  });

  it("is the same as what the binary prints with version --licenses", () => {
    const listed = licenses.map(({ name, version }) => `${name} ${version}`);
    const inBom = [bom.metadata.component, ...bom.components];
    assert.deepEqual(
      listed,
      inBom.map(({ name, version }) => `${name} ${version}`),
    );
  });

  it("has the text of every licence, and that of the LGPL for the runtime", () => {
    for (const { name, text: licence } of licenses) {
      assert.match(licence, /permi(?:t|ssion)|apache license|public domain/i, name);
    }
    const runtime = licenses.at(-1)?.text ?? "";
    assert.match(runtime, /JavaScriptCore[^]*GNU LESSER GENERAL PUBLIC LICENSE[^]*Version 2\.1/);
  });

  it(
    "is the same, byte for byte, when it is built again in another folder",
    { skip: process.versions["deno"] !== undefined && "it is built by Bun in any case" },
    async () => {
      const [first, second] = [join(folder, "a"), join(folder, "another")];
      await copyOfSource(first);
      await rm(join(first, "node_modules"));
      const bundled = bom.components.filter(({ type }) => type === "library");
      // Packages that these import must be there, even if nothing of them is in the binary.
      const names = new Set(bundled.map(({ name }) => name));
      for (const name of names) {
        const path = join("node_modules", name);
        if (!existsSync(join(root, path))) continue;
        await cp(join(root, path), join(first, path), { recursive: true, dereference: true });
        const { dependencies = {} }: { dependencies?: Record<string, string> } = JSON.parse(
          await readFile(join(root, path, "package.json"), "utf8"),
        );
        for (const dependency of Object.keys(dependencies)) names.add(dependency);
      }
      const texts: string[] = [];
      for (const place of [first, second]) {
        if (place === second) await rename(first, second);
        const { status, stderr } = build(place, join(folder, "dist"));
        assert.equal(status, 0, stderr);
        texts.push(await readFile(join(folder, "dist/picoclaw.cdx.json"), "utf8"));
      }
      // With the digest of the binary in it.
      assert.ok(texts[0] === texts[1]);
    },
  );
});

describe("a build with a package whose licence is not on the list", () => {
  for (const [what, license, words] of [
    ["another licence", "GPL-3.0-only", /evil-package 1\.0\.0 \(GPL-3\.0-only\)/],
    ["no licence", undefined, /evil-package 1\.0\.0 \(none\)/],
  ] as const) {
    it(`fails and names it: ${what}`, async () => {
      const folder = await mkdtemp(join(tmpdir(), "picoclaw-build-test-"));
      try {
        await copyOfSource(folder);
        const evil = join(folder, "src/node_modules/evil-package");
        await mkdir(evil, { recursive: true });
        const manifest = { name: "evil-package", version: "1.0.0", main: "index.js", license };
        await writeFile(join(evil, "package.json"), JSON.stringify(manifest));
        await writeFile(join(evil, "index.js"), "module.exports = process.uptime();");
        const main = join(folder, "src/main.ts");
        const source = await readFile(main, "utf8");
        await writeFile(
          main,
          `import evil from "evil-package";\n${source}\nif (!evil) throw evil;`,
        );
        const { status, stderr } = build(folder, join(folder, "dist"));
        assert.notEqual(status, 0);
        assert.match(stderr, words);
        assert.deepEqual(await readdir(join(folder, "dist")), []);
      } finally {
        await rm(folder, { recursive: true });
      }
    });
  }
});

/** The source in another folder, with the packages where they are. */
async function copyOfSource(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const name of [
    "src",
    "scripts",
    "docs",
    "README.md",
    "package.json",
    "package-lock.json",
    "LICENSE",
    "tsconfig.json",
  ]) {
    await cp(join(root, name), join(folder, name), { recursive: true });
  }
  await symlink(join(root, "node_modules"), join(folder, "node_modules"));
}
