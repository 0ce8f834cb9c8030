import assert from "node:assert/strict";
import { it } from "node:test";
import { Failure } from "../../../src/base/failure.ts";
import { openStoreClock } from "../../../src/gateway/jobs/store-clock.ts";
import { createManualClock } from "../manual-clock.ts";

it("the clock of a shared store goes by the store's time, also when that of the machine jumps or is away", async () => {
  const manual = createManualClock();
  await manual.advance(5000);
  let ahead: number | undefined = 3_600_000;
  const read = async () => {
    if (ahead === undefined) throw new Failure("busy", "away");
    return { epoch: ahead + manual.now(), utcOffsetMs: 0 };
  };
  const clock = await openStoreClock(read, manual);
  assert.equal(clock.epoch(), 3_605_000);
  manual.jump(99_000_000);
  await manual.advance(1000);
  assert.equal(clock.epoch(), 3_606_000);
  ahead = undefined;
  await manual.advance(600_000);
  assert.equal(clock.epoch(), 4_206_000);
  ahead = 0;
  await manual.advance(600_000);
  clock.epoch();
  await manual.advance(0);
  assert.equal(clock.epoch(), 1_206_000);
});
