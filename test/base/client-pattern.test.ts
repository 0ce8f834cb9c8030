import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { coversPattern, isEveryone, matchesPattern } from "../../src/base/client-pattern.ts";
import { runs } from "../support/runs.ts";

const letters = ["a", "b", "A", "*", "?", "é", "\u{1f600}"];
const pattern = fc.array(fc.constantFrom(...letters), { maxLength: 7 }).map((all) => all.join(""));

/** By trying everything. */
function matchesSlowly(tokens: readonly string[], id: readonly string[]): boolean {
  const [token, ...rest] = tokens;
  if (token === undefined) return id.length === 0;
  if (token === "*") {
    return [...id, ""].some((_, taken) => matchesSlowly(rest, id.slice(taken)));
  }
  const [first, ...others] = id;
  return first !== undefined && (token === "?" || token === first) && matchesSlowly(rest, others);
}

describe("a pattern of clients", () => {
  it("means what trying everything finds", () => {
    fc.assert(
      fc.property(pattern, pattern, (wanted, id) => {
        assert.equal(
          matchesPattern(wanted, id),
          matchesSlowly(Array.from(wanted), Array.from(id)),
          `${wanted} ${id}`,
        );
      }),
      { numRuns: runs(5_000) },
    );
  });

  it("means no client of another case, with a longer or a shorter name", () => {
    for (const id of ["Kitchen", "kitchen2", "kitche", " kitchen", "kitchen ", "kitchen\n", ""]) {
      assert.equal(matchesPattern("kitchen", id), false, JSON.stringify(id));
    }
    assert.equal(matchesPattern("kitchen", "kitchen"), true);
  });

  it("takes no regular expression, and a client's id is none of its patterns", () => {
    assert.equal(matchesPattern(".*", "anyone"), false);
    assert.equal(matchesPattern("a|b", "a"), false);
    assert.equal(matchesPattern("[ab]", "a"), false);
    for (const id of ["*", "?", "kitch*", "k??????"]) {
      assert.equal(matchesPattern("kitchen", id), false, id);
    }
  });

  it("counts a character outside of the basic plane as one", () => {
    assert.equal(matchesPattern("?", "\u{1f600}"), true);
    assert.equal(matchesPattern("??", "\u{1f600}"), false);
  });

  it("is compared at once with the longest id that a topic can hold", () => {
    const began = performance.now();
    assert.equal(matchesPattern(`${"*a".repeat(120)}b`, "a".repeat(65_000)), false);
    assert.ok(performance.now() - began < 5_000);
  });

  it("is said to cover another only where it means all of its clients", () => {
    fc.assert(
      fc.property(pattern, pattern, pattern, (outer, inner, id) => {
        if (coversPattern(outer, inner) && matchesPattern(inner, id)) {
          assert.ok(matchesPattern(outer, id), `${outer} ${inner} ${id}`);
        }
      }),
      { numRuns: runs(5_000) },
    );
    for (const [outer, inner] of [
      ["*", "kitchen"],
      ["*", "?*"],
      ["kitchen-*", "kitchen-?"],
      ["kitchen", "kitchen"],
      ["k*n", "k*e?n"],
    ] as const) {
      assert.ok(coversPattern(outer, inner), `${outer} ${inner}`);
      assert.ok(outer === inner || !coversPattern(inner, outer), `${inner} ${outer}`);
    }
  });

  it("means everyone only where it holds nothing but wildcards, and a * among them", () => {
    for (const some of ["*", "**", "?*", "*?", "??*?"]) assert.ok(isEveryone(some), some);
    for (const some of ["?", "a*", "*a*", "", "???"]) assert.ok(!isEveryone(some), some);
  });
});
