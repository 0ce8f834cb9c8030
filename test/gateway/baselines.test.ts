import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { WeekBaseline } from "../../src/gateway/watch/baseline.ts";
import { Baselines } from "../../src/gateway/watch/baselines.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { createManualClock, settled } from "./manual-clock.ts";
import { createTestStore } from "./setup.ts";

const WEEK = 7 * 24 * 3_600_000;
const SAMPLES = 15;

/** The baseline of one topic, and what it has stored. */
function createPlace() {
  const clock = createManualClock();
  const store = createTestStore(clock);
  const log = createMemoryLog();
  const baselines = new Baselines({ clock, store, isShared: false, log });
  const topic = baselines.open("t");
  return {
    add: (value: number) => baselines.add(topic, value),
    async nextWeek() {
      clock.jump(WEEK);
      baselines.turn(topic);
      await settled();
    },
    async stored() {
      const [counter] = await store.counters();
      const week = new WeekBaseline(counter?.state);
      return Array.from({ length: 168 }, (_, hour) => week.at(hour));
    },
  };
}

const anything = fc.oneof(
  fc.double(),
  fc.constantFrom(1e300, -1e300, Number.MAX_VALUE, Infinity, -Infinity, Number.NaN, 3e38, 1e15),
  fc.double({ min: 1e11, max: 1e18, noNaN: true }),
);
/** Wrong by far for a value below a thousand. */
const mistake = anything.filter((value) => !(Math.abs(value) < 1e11));

describe("a baseline", () => {
  it("is finite, whatever it has heard", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(anything), { maxLength: 4 }), async (weeks) => {
        const place = createPlace();
        for (const values of weeks) {
          for (const value of values) place.add(value);
          await place.nextWeek();
        }
        for (const { mean, deviation } of await place.stored()) {
          assert.ok(Number.isFinite(mean) && Math.abs(mean) < 2e15, `${mean}`);
          assert.ok(Number.isFinite(deviation) && deviation >= 0, `${deviation}`);
        }
      }),
      { numRuns: 60 },
    );
  });

  it("recovers from what it heard wrong before it could tell", async () => {
    const wrong = fc.array(fc.tuple(fc.nat(1), fc.nat(SAMPLES - 1), mistake), { minLength: 1 });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: -900, max: 900 }), wrong, async (usual, mistakes) => {
        const place = createPlace();
        for (let week = 0; week < 5; week += 1) {
          for (let sample = 0; sample < SAMPLES; sample += 1) {
            const now = mistakes.filter(([when, before]) => when === week && before === sample);
            for (const [, , value] of now) place.add(value);
            place.add(usual + (sample % 3));
          }
          await place.nextWeek();
        }
        assert.equal(place.add(usual + 1), undefined);
        assert.equal(place.add(usual + 1000)?.value, usual + 1000);
        assert.equal(place.add(1e300)?.value, 1e300);
      }),
      { numRuns: 60 },
    );
  });

  it("keeps what it knows when a device that varies is off for an hour", async () => {
    const place = createPlace();
    for (let week = 0; week < 3; week += 1) {
      for (let sample = 0; sample < SAMPLES; sample += 1)
        place.add(week === 1 ? 0 : 3000 * (sample % 2));
      await place.nextWeek();
    }
    assert.equal(place.add(3000), undefined);
    assert.equal(place.add(0), undefined);
    assert.equal(place.add(30_000)?.count, 3 * SAMPLES);
  });
});
