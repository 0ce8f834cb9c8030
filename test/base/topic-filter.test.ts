import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isTopicFilter } from "../../src/base/topic-filter.ts";

describe("a topic filter", () => {
  it("has wildcards that stand for whole levels, # at the end", () => {
    for (const filter of ["#", "+", "+/#", "a/+/b", "/", "//", "/a", "a/", "$SYS/#", "a b/é"]) {
      assert.ok(isTopicFilter(filter), filter);
    }
    for (const filter of ["", "a#", "#/a", "a/#/b", "a+", "+a/b", "a\0b", "\ud800", "##", "++"]) {
      assert.ok(!isTopicFilter(filter), filter);
    }
    assert.ok(isTopicFilter("é".repeat(32_767)));
    assert.ok(!isTopicFilter("é".repeat(32_768)));
  });

  it("is no shared subscription, nor another kind that a broker adds", () => {
    for (const filter of ["$share/x/#", "$share", "$SHARE/x/#", "$queue/a", "$exclusive/a"]) {
      assert.ok(!isTopicFilter(filter), filter);
    }
    assert.ok(isTopicFilter("$shared/x"));
  });
});
