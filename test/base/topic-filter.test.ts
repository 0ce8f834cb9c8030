import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import {
  coversFilter,
  filtersOverlap,
  isTopicFilter,
  isTopicName,
  matchesFilter,
} from "../../src/base/topic-filter.ts";
import { runs } from "../support/runs.ts";

const LEVELS = ["a", "b", "", "$x", "+", "#"];
const level = fc.constantFrom(...LEVELS);
const filter = fc
  .array(level, { minLength: 1, maxLength: 4 })
  .map((levels) => levels.join("/"))
  .filter(isTopicFilter);

/** All topics of up to five levels over a few names. */
const TOPICS = topicsOf(5).filter(isTopicName);

function topicsOf(depth: number): string[] {
  const names = ["a", "b", "", "$x", "z"];
  if (depth === 1) return names;
  const shorter = topicsOf(depth - 1);
  const deepest = shorter.filter((topic) => topic.split("/").length === depth - 1);
  return [...shorter, ...deepest.flatMap((topic) => names.map((name) => `${topic}/${name}`))];
}

/** MQTT 5 section 4.7, word by word, as an expression. */
function expressionOf(wanted: string): RegExp {
  const levels = wanted.split("/").map((one, index) => {
    const start = index === 0 ? "" : "/";
    const safe = index === 0 ? String.raw`(?!\$)` : "";
    // A filter that ends in /# matches the level above it, too.
    if (one === "#") return index === 0 ? `${safe}.*` : "(?:/.*)?";
    return start + (one === "+" ? `${safe}[^/]*` : one.replaceAll("$", String.raw`\$`));
  });
  return new RegExp(`^${levels.join("")}$`, "s");
}

const EXPRESSIONS = new Map<string, readonly string[]>();

function matchedBy(wanted: string): readonly string[] {
  const known = EXPRESSIONS.get(wanted);
  if (known !== undefined) return known;
  const expression = expressionOf(wanted);
  const found = TOPICS.filter((topic) => expression.test(topic));
  EXPRESSIONS.set(wanted, found);
  return found;
}

describe("a topic filter", () => {
  it("has wildcards that stand for whole levels, # at the end", () => {
    for (const good of ["#", "+", "+/#", "a/+/b", "/", "//", "/a", "a/", "$SYS/#", "a b/é"]) {
      assert.ok(isTopicFilter(good), good);
    }
    for (const bad of ["", "a#", "#/a", "a/#/b", "a+", "+a/b", "a\0b", "\ud800", "##", "++"]) {
      assert.ok(!isTopicFilter(bad), bad);
    }
    assert.ok(isTopicFilter("é".repeat(32_767)));
    assert.ok(!isTopicFilter("é".repeat(32_768)));
  });

  it("is no shared subscription, nor another kind that a broker adds", () => {
    for (const kind of ["$share/x/#", "$share", "$SHARE/x/#", "$queue/a", "$exclusive/a"]) {
      assert.ok(!isTopicFilter(kind), kind);
    }
    assert.ok(isTopicFilter("$shared/x"));
  });

  it("matches the topics that the standard says", () => {
    fc.assert(
      fc.property(filter, (wanted) => {
        const found = TOPICS.filter((topic) => matchesFilter(wanted, topic));
        assert.deepEqual(found, matchedBy(wanted), wanted);
      }),
      { numRuns: runs(300) },
    );
    assert.ok(matchesFilter("sport/tennis/player1/#", "sport/tennis/player1"));
    assert.ok(!matchesFilter("sport/+", "sport"));
    assert.ok(matchesFilter("sport/+", "sport/"));
    assert.ok(matchesFilter("+/+", "/finance"));
    assert.ok(!matchesFilter("+/monitor/Clients", "$SYS/monitor/Clients"));
    assert.ok(matchesFilter("$SYS/monitor/+", "$SYS/monitor/Clients"));
  });

  it("covers another one exactly where it matches all of its topics", () => {
    fc.assert(
      fc.property(filter, filter, (outer, inner) => {
        const wide = new Set(matchedBy(outer));
        const isCovered = matchedBy(inner).every((topic) => wide.has(topic));
        assert.equal(coversFilter(outer, inner), isCovered, `${outer} ${inner}`);
      }),
      { numRuns: runs(5_000) },
    );
  });

  it("overlaps another one exactly where a topic is matched by both", () => {
    fc.assert(
      fc.property(filter, filter, (one, other) => {
        const first = new Set(matchedBy(one));
        // The empty topic, which no message has, counts: `+` and `/#` have it in common.
        const isShared =
          matchedBy(other).some((topic) => first.has(topic)) ||
          [one, other].every((each) => expressionOf(each).test(""));
        assert.equal(filtersOverlap(one, other), isShared, `${one} ${other}`);
      }),
      { numRuns: runs(5_000) },
    );
  });
});
