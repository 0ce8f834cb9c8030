import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { it } from "node:test";

/** Each folder of src, and the folders it may import. Nothing else is allowed. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  base: [],
  config: ["base"],
  mqtt: ["base", "config"],
  agent: ["base", "config"],
  gateway: ["base"],
  cli: ["base", "config", "mqtt", "agent", "gateway"],
  "main.ts": ["base", "cli"],
};

const src = join(import.meta.dirname, "../src");
const files = (await readdir(src, { recursive: true })).filter((file) => file.endsWith(".ts"));
const folderOf = (file: string): string => file.split("/")[0] ?? file;

for (const file of files) {
  it(`${file} imports downwards only`, async () => {
    const text = await readFile(join(src, file), "utf8");
    for (const [, path] of text.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)) {
      const target = folderOf(relative(src, join(src, dirname(file), path ?? "")));
      if (target.startsWith("..")) {
        assert.match(path ?? "", /\/package\.json$/, `${file} leaves src for ${path}`);
        continue;
      }
      const allowed = [folderOf(file), ...(MAY_IMPORT[folderOf(file)] ?? [])];
      assert.ok(allowed.includes(target), `${file} imports ${target}`);
    }
  });
}

it("every folder of src is in the table", () => {
  for (const file of files) assert.ok(folderOf(file) in MAY_IMPORT, `${file} has no row`);
});
