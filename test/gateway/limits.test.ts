import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { createRates, isAllowed } from "../../src/gateway/limits.ts";
import type { Limits } from "../../src/gateway/limits.ts";
import { createManualClock } from "./manual-clock.ts";

const limitsOf = (requests_per_minute: number, burst: number): Limits => ({
  requests_per_minute,
  burst,
  queued: 0,
});
const policyOf = (allowFrom: readonly string[], denyFrom: readonly string[] = []) => ({
  allowFrom,
  denyFrom,
  adminFrom: [],
  intervalMs: 0,
  limits: limitsOf(0, 0),
  totalLimits: limitsOf(0, 0),
});

describe("rates", () => {
  it("let through no more than the burst and what grew since, and no less", async () => {
    const asks = fc.array(fc.nat(5000), { minLength: 1, maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 600 }),
        fc.integer({ min: 0, max: 20 }),
        asks,
        async (perMinute, burst, waits) => {
          const clock = createManualClock();
          const rates = createRates(clock, 10);
          const charge = { name: "a", limits: limitsOf(perMinute, burst) };
          let taken = 0;
          for (const ms of waits) {
            await clock.advance(ms);
            const seconds = rates.take([charge]);
            if (seconds === 0) taken++;
            else assert.ok(Number.isInteger(seconds) && seconds >= 1);
            assert.ok(taken <= Math.max(burst, 1) + (clock.now() * perMinute) / 60_000 + 1e-3);
          }
          // Who waits as long as it was told is let through, and a second less was not enough.
          let seconds = rates.take([charge]);
          while (seconds === 0) seconds = rates.take([charge]);
          await clock.advance(Math.max(0, (seconds - 1) * 1000 - 1));
          const early = rates.take([charge]);
          assert.ok(early > 0);
          await clock.advance(early * 1000);
          assert.equal(rates.take([charge]), 0);
        },
      ),
      { numRuns: 50 },
    );
  });

  it("charge nobody when one of the limits says no", () => {
    const rates = createRates(createManualClock(), 10);
    const total = { name: "total", limits: limitsOf(60, 3) };
    const flood = { name: "flood", limits: limitsOf(60, 1) };
    const quiet = { name: "quiet", limits: limitsOf(60, 2) };
    assert.equal(rates.take([flood, total]), 0);
    for (let ask = 0; ask < 100; ask++) assert.equal(rates.take([flood, total]), 1);
    assert.equal(rates.take([quiet, total]), 0);
    assert.equal(rates.take([quiet, total]), 0);
    assert.equal(rates.take([quiet, total]), 1);
  });

  it("are none where the limit is 0", () => {
    const rates = createRates(createManualClock(), 10);
    const charge = { name: "a", limits: limitsOf(0, 0) };
    for (let ask = 0; ask < 1000; ask++) assert.equal(rates.take([charge]), 0);
  });

  it("forget the clients longest silent, never the one that floods", () => {
    const rates = createRates(createManualClock(), 100);
    const limits = limitsOf(1, 1);
    const charge = (name: string) => ({ name, limits });
    rates.take([charge("silent")]);
    rates.take([charge("flood")]);
    for (let client = 0; client < 1000; client++) {
      assert.equal(rates.take([charge(`invented ${client}`)]), 0);
      assert.equal(rates.take([charge("flood")]), 60);
    }
    assert.equal(rates.take([charge("silent")]), 0);
  });
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
