import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";

const root = join(import.meta.dirname, "../..");
const read = async (name: string) => JSON.parse(await readFile(join(root, name), "utf8"));

interface Entry {
  readonly version?: string;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly link?: boolean;
}

const lock: { lockfileVersion: number; packages: Record<string, Entry> } =
  await read("package-lock.json");
const manifest: Record<string, Record<string, string>> = await read("package.json");
const entries = Object.entries(lock.packages).filter(([path]) => path !== "");

describe("the lock file", () => {
  it("names every package by an exact version and the SHA-512 of its archive", () => {
    assert.ok(entries.length > 100);
    for (const [path, { version, integrity = "" }] of entries) {
      assert.match(version ?? "", /^\d+\.\d+\.\d+(?:[-+][\w.+-]+)?$/, path);
      assert.match(integrity, /^sha512-[A-Za-z0-9+/]{86}==$/, path);
    }
  });

  it("takes every package from the registry, none from git, an address or a folder", () => {
    for (const [path, { resolved, link = false }] of entries) {
      assert.match(path, /^(?:node_modules\/(?:@[\w.-]+\/)?[\w.-]+\/?)+$/);
      assert.equal(link, false, path);
      // Left out, it is the registry of whoever installs.
      assert.match(resolved ?? "https://registry.npmjs.org/", /^https:\/\/registry\.npmjs\.org\//);
    }
  });
});

describe("package.json", () => {
  it("asks for exact versions, the same that are locked", () => {
    for (const [name, version] of [
      ...Object.entries(manifest["dependencies"] ?? {}),
      ...Object.entries(manifest["devDependencies"] ?? {}),
    ]) {
      assert.match(version, /^\d+\.\d+\.\d+$/, name);
      assert.equal(lock.packages[`node_modules/${name}`]?.version, version, name);
    }
  });

  it("runs nothing of its own when it is installed", () => {
    const scripts = Object.keys(manifest["scripts"] ?? {});
    const hooks = /^(?:pre|post)?(?:install|prepare|pack|publish)|^dependencies$/;
    assert.deepEqual(
      scripts.filter((name) => hooks.test(name)),
      [],
    );
  });
});
