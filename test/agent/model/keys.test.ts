import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createCooldown } from "../../../src/agent/model/candidate.ts";
import { createClock } from "../../support/model.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

describe("a cooldown", () => {
  it("is not made longer by what fails within it", () => {
    const { now, move } = createClock();
    const cooldown = createCooldown(now);
    cooldown.failed("passing");
    const end = cooldown.endsAt();
    assert.equal(end, now() + MINUTE);
    move(MINUTE / 2);
    cooldown.failed("rate_limit");
    assert.equal(cooldown.endsAt(), end);
    cooldown.failed("passing", 90);
    assert.equal(cooldown.endsAt(), now() + 90_000);
  });

  it("begins its own row for faults of another kind", () => {
    const { now, move } = createClock();
    const cooldown = createCooldown(now);
    cooldown.failed("passing");
    move(MINUTE);
    cooldown.failed("passing");
    move(5 * MINUTE);
    cooldown.failed("billing");
    assert.equal(cooldown.endsAt(), now() + 5 * HOUR);
    cooldown.failed("final");
    assert.equal(cooldown.endsAt(), now() + 5 * HOUR);
  });

  it("lasts a day at most, whatever a provider asks for", () => {
    const { now } = createClock();
    const cooldown = createCooldown(now);
    cooldown.failed("rate_limit", 1e12);
    assert.equal(cooldown.endsAt(), now() + 24 * HOUR);
  });
});
