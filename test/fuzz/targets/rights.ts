import assert from "node:assert/strict";
import { coversPattern, isEveryone, matchesPattern } from "../../../src/base/client-pattern.ts";
import {
  coversFilter,
  filtersOverlap,
  isTopicFilter,
  isTopicName,
  matchesFilter,
} from "../../../src/base/topic-filter.ts";
import { textOf } from "../target.ts";
import type { Target } from "../target.ts";

/** MQTT 5, 4.7.1 and 4.7.2, as a regular expression. */
function patternOf(filter: string): RegExp {
  const levels = filter.split("/").map((level) => {
    if (level === "+") return "[^/]*";
    return level === "#" ? "#" : level.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, String.raw`\$&`);
  });
  const text = levels.join("/").replace(/^#$/, ".*").replace(/\/#$/, "(?:/.*)?");
  const isWild = filter.startsWith("+") || filter.startsWith("#");
  return new RegExp(`^${isWild ? String.raw`(?!\$)` : ""}${text}$`, "s");
}

/** Every topic of up to three levels out of those that are named, one that is not, and a system's. */
function topicsOf(filters: readonly string[]): string[] {
  const named = filters.flatMap((filter) => filter.split("/"));
  const levels = [...new Set([...named.filter((level) => !/[+#]/.test(level)), "zz", "$zz"])];
  const one = levels.slice(0, 8);
  const two = one.flatMap((first) => one.map((second) => `${first}/${second}`));
  const three = two.flatMap((first) => one.map((second) => `${first}/${second}`));
  // The topic without a character counts as well: `/#` and `+` have it in common, and nothing else.
  return ["", ...[...one, ...two, ...three].filter(isTopicName)];
}

/** Two filters, one a line. */
function runFilters(input: Uint8Array): string {
  const [outer = "", inner = ""] = textOf(input).split("\n");
  if (!isTopicFilter(outer) || !isTopicFilter(inner)) return "no filters";
  const topics = topicsOf([outer, inner]);
  const [first, second] = [patternOf(outer), patternOf(inner)];
  for (const topic of topics) {
    assert.equal(matchesFilter(outer, topic), first.test(topic), `${outer} and ${topic}`);
  }
  const inside = topics.filter((topic) => second.test(topic));
  const covers = coversFilter(outer, inner);
  const overlap = filtersOverlap(outer, inner);
  const outside = inside.find((topic) => !first.test(topic));
  if (covers) assert.equal(outside, undefined, `${outer} is said to cover ${inner}`);
  const isSmall = [outer, inner].every((filter) => filter.split("/").length <= 3);
  const both = inside.some((topic) => first.test(topic));
  if (both) assert.ok(overlap, `${outer} and ${inner} are said to have nothing in common`);
  if (isSmall && topics.length >= 3) {
    assert.equal(overlap, both, `${outer} and ${inner}`);
    if (outside === undefined && inside.length > 0) {
      assert.ok(covers, `${outer} is said not to cover ${inner}`);
    }
  }
  return `${covers} ${overlap} ${isSmall} ${inside.length > 0}`;
}

export const FILTERS: Target = {
  name: "filters",
  about: "a filter matches, covers and meets what MQTT says it does, and nothing else",
  material: {
    most: 80,
    lines: true,
    words: "/ + # $ $SYS $share/a/ a b +/# a/# /+ \n // ".split(" "),
  },
  async open() {
    return { run: runFilters };
  },
};

/** A client's pattern and an id, one a line. */
function runPatterns(input: Uint8Array): string {
  const [pattern = "", id = "", other = ""] = textOf(input).split("\n");
  const source = Array.from(pattern, (sign) => {
    if (sign === "*") return ".*";
    return sign === "?" ? "." : sign.replaceAll(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`);
  });
  const matches = matchesPattern(pattern, id);
  // More than a few runs would take the regular expression for ever.
  if (source.filter((one) => one === ".*").length <= 6 && id.length < 60) {
    const model = new RegExp(`^${source.join("")}$`, "su");
    assert.equal(matches, model.test(id), `${pattern} and ${id}`);
  }
  if (isEveryone(pattern) && !pattern.includes("?")) assert.ok(matches);
  const covers = coversPattern(pattern, other);
  if (covers && matchesPattern(other, id)) assert.ok(matches, `${pattern} covers ${other}`);
  return `${matches} ${covers} ${isEveryone(pattern)}`;
}

export const PATTERNS: Target = {
  name: "patterns",
  about: "a pattern of client ids means those ids that it is written for",
  material: {
    most: 2000,
    lines: true,
    words: "* ? ** *? kitchen .* [a-z] | \n 👋 . \\".split(" "),
  },
  linear: true,
  async open() {
    return { run: runPatterns };
  },
};
