import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { matchesOf } from "../../../../src/agent/tools/files/edit-file.ts";
import { runs } from "../../../support/runs.ts";

describe("the places of a text in another", () => {
  it("are all of them, those that overlap too", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "\ud83d", "é"), maxLength: 60 });
    const some = fc.string({
      unit: fc.constantFrom("a", "b", "\ud83d"),
      minLength: 1,
      maxLength: 8,
    });
    fc.assert(
      fc.property(letters, some, (text, wanted) => {
        const all = text.split("").flatMap((_, at) => (text.startsWith(wanted, at) ? [at] : []));
        const found = matchesOf(text, wanted, 3);
        assert.deepEqual(found, { first: all.slice(0, 3), count: all.length });
      }),
      { numRuns: runs(1_000) },
    );
  });

  it("are found without holding up the rest for minutes where letters are made to repeat", () => {
    const run = "a".repeat(25_000);
    const text = "a".repeat(2 ** 20);
    const startedAt = performance.now();
    assert.equal(matchesOf(text, `${run}b${run}`, 10).count, 0);
    assert.equal(matchesOf(text, run, 10).count, 2 ** 20 - 24_999);
    assert.ok(performance.now() - startedAt < 20_000);
  });
});
