import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, it } from "node:test";
import { SETTINGS_FILE, withTables } from "../../scripts/settings.ts";
import { CONFIG_FLAGS } from "../../src/config/flags.ts";
import { keysIn } from "../../src/config/keys/key.ts";
import { KEYS, variableOf } from "../../src/config/keys/keys.ts";

const keys = keysIn(KEYS);

describe("the table of keys", () => {
  it("is what docs/settings.md says (`npm run settings` writes it)", async () => {
    const page = await readFile(SETTINGS_FILE, "utf8");
    assert.equal(withTables(page), page);
  });

  it("has a sentence for every key", () => {
    for (const { path, key } of keys) assert.match(key.doc, /[.]$/, path.join("."));
  });

  it("has every flag of the configuration once", () => {
    const flags = keys.flatMap(({ key }) => key.flag ?? []);
    assert.deepEqual(flags.toSorted(), Object.keys(CONFIG_FLAGS).toSorted());
  });

  it("has no variable twice", () => {
    const variables = keys.flatMap((placed) => variableOf(placed) ?? []);
    assert.deepEqual(variables.toSorted(), [...new Set(variables)].toSorted());
  });
});
