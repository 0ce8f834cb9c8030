import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isAllowed } from "../../src/gateway/channel-policy.ts";
import { NO_LIMITS } from "./setup.ts";

const policyOf = (allowFrom: readonly string[], denyFrom: readonly string[] = []) => ({
  allowFrom,
  denyFrom,
  adminFrom: [],
  intervalMs: 0,
  limits: NO_LIMITS,
  totalLimits: NO_LIMITS,
});

describe("allow_from", () => {
  it("is everyone when it is empty or holds a star", () => {
    assert.ok(isAllowed(policyOf([]), "anyone"));
    assert.ok(isAllowed(policyOf(["x", "*"]), "anyone"));
  });

  it("is exact: no case, blank, bar or at sign changes who is meant", () => {
    const policy = policyOf(["device", "a|b"]);
    assert.ok(isAllowed(policy, "device"));
    assert.ok(isAllowed(policy, "a|b"));
    for (const client of [
      "Device",
      "device ",
      " device",
      "@device",
      "device|x",
      "x|device",
      "a",
      "",
    ]) {
      assert.equal(isAllowed(policy, client), false, client);
    }
  });

  it("has no patterns: a star within a name is a star", () => {
    const policy = policyOf(["dev*", "a?"]);
    assert.ok(isAllowed(policy, "dev*"));
    for (const client of ["dev", "device", "dev.", "ab"]) {
      assert.equal(isAllowed(policy, client), false, client);
    }
  });
});

describe("deny_from", () => {
  it("wins over allow_from, named or for all", () => {
    assert.equal(isAllowed(policyOf(["thief"], ["thief"]), "thief"), false);
    assert.equal(isAllowed(policyOf(["*"], ["thief"]), "thief"), false);
    assert.ok(isAllowed(policyOf(["*"], ["thief"]), "friend"));
    assert.equal(isAllowed(policyOf(["friend"], ["*"]), "friend"), false);
    assert.equal(isAllowed(policyOf([], ["thief"]), "thief"), false);
  });

  it("is exact, too: it means nobody but who is named", () => {
    const policy = policyOf([], ["thief", "ro*"]);
    for (const client of ["Thief", " thief", "thief|x", "x|thief", "@thief", "robot", "thie"]) {
      assert.ok(isAllowed(policy, client), client);
    }
    assert.equal(isAllowed(policy, "ro*"), false);
  });
});
