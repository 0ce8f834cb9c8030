import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { readDefences, testOf, without } from "../../scripts/attacks/defences.ts";

const root = join(import.meta.dirname, "../..");
const defences = await readDefences();

describe("the table of defences that are taken away", () => {
  it("names at least thirty, each once", () => {
    assert.ok(defences.length >= 30, String(defences.length));
    assert.equal(new Set(defences.map(({ defence }) => defence)).size, defences.length);
  });

  it("finds each in the source, and the tests that see it", async () => {
    for (const defence of defences) {
      const source = await readFile(join(root, defence.file), "utf8");
      assert.notEqual(without(defence, source), source, defence.defence);
      for (const { file } of defence.tests.map(testOf)) {
        assert.ok(existsSync(join(root, file)), `${defence.defence}: there is no ${file}`);
      }
    }
  });

  it("is out of date where the source says something else, or says it twice", () => {
    const [defence] = defences;
    assert.ok(defence !== undefined);
    assert.throws(() => without(defence, ""), /holds 0 times/);
    assert.throws(() => without(defence, defence.take.repeat(2)), /holds 2 times/);
  });
});
