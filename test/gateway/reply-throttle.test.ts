import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ReplyThrottle } from "../../src/gateway/reply-throttle.ts";
import { createManualClock } from "./manual-clock.ts";

describe("notices", () => {
  it("are given once a minute, with what was passed over meanwhile", async () => {
    const clock = createManualClock();
    const throttle = new ReplyThrottle({ clock, everyMs: 60_000, rows: 10 });
    assert.equal(throttle.allow("a"), 0);
    for (let ask = 0; ask < 5; ask++) assert.equal(throttle.allow("a"), undefined);
    assert.equal(throttle.allow("b"), 0);
    await clock.advance(59_999);
    assert.equal(throttle.allow("a"), undefined);
    await clock.advance(1);
    assert.equal(throttle.allow("a"), 6);
  });

  it("stop for new names while all rows are used, so that invented ones cost nothing", async () => {
    const clock = createManualClock();
    const throttle = new ReplyThrottle({ clock, everyMs: 60_000, rows: 10 });
    const shown = (kind: string): number =>
      Array.from({ length: 1000 }, (_, name) => throttle.allow(`${kind} ${name}`)).filter(
        (due) => due !== undefined,
      ).length;
    assert.equal(shown("one"), 10);
    await clock.advance(59_999);
    assert.equal(shown("another"), 0);
    await clock.advance(1);
    assert.equal(shown("third"), 10);
  });
});
