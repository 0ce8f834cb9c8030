import assert from "node:assert/strict";
import { it } from "node:test";
import {
  array,
  assert as holds,
  boolean,
  constant,
  constantFrom,
  nat,
  oneof,
  property,
  tuple,
  uniqueArray,
} from "fast-check";
import { matchesFilter } from "../../src/base/topic-filter.ts";
import { FilterTree } from "../../src/mqtt/protocol/filter-tree.ts";
import { runs } from "../support/runs.ts";

const level = constantFrom("a", "b", "", "$x", "constructor", "__proto__");
const topics = array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join("/"));
const filters = tuple(
  array(oneof(level, constant("+")), { minLength: 1, maxLength: 4 }),
  boolean(),
).map(([levels, isOpen]) => [...levels, ...(isOpen ? ["#"] : [])].join("/"));

it("a tree of filters finds what matching one by one finds, also after some are removed", () => {
  holds(
    property(
      uniqueArray(oneof(filters, constant("#")), { maxLength: 12 }),
      topics.filter((topic) => topic !== ""),
      nat(),
      (all, topic, seed) => {
        const tree = new FilterTree<string>();
        for (const filter of all) tree.add(filter, filter);
        const gone = all.filter((_, index) => (seed >> index) % 2 === 1);
        for (const filter of gone) tree.remove(filter, filter);
        const left = all.filter((filter) => !gone.includes(filter));
        const found = [...tree.match(topic)].toSorted();
        assert.deepEqual(found, left.filter((one) => matchesFilter(one, topic)).toSorted());
      },
    ),
    { numRuns: runs(2_000) },
  );
});

it("a tree of filters has a value of several filters once, and keeps it while one is left", () => {
  const tree = new FilterTree<string>();
  for (const filter of ["a/#", "+/b", "a/b"]) tree.add(filter, "client");
  assert.deepEqual([...tree.match("a/b")], ["client"]);
  tree.remove("a/b", "client");
  tree.remove("never/was", "client");
  assert.deepEqual([...tree.match("a/b")], ["client"]);
  tree.remove("+/b", "client");
  tree.remove("a/#", "client");
  assert.equal(tree.match("a/b").size, 0);
});
