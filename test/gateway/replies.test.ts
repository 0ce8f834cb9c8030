import assert from "node:assert/strict";
import { it } from "node:test";
import { createReplies } from "../../src/gateway/replies.ts";
import { createDam, createRecorder } from "./asker.ts";
import { createManualClock, settled } from "./manual-clock.ts";

it("replies on their way are bounded for each client and for all", async () => {
  const { log, lines } = createRecorder();
  const clock = createManualClock();
  const replies = createReplies({ clock, log, perLane: 2, inAll: 3 });
  const dam = createDam();
  const sent: string[] = [];
  const send = (lane: string) =>
    replies.send(lane, () => {
      sent.push(lane);
      return dam.deliver();
    });
  for (const lane of ["a", "a", "a", "b", "b"]) send(lane);
  assert.deepEqual(sent, ["a", "a", "b"]);
  await clock.advance(59_999);
  assert.equal(lines.length, 0);
  await clock.advance(1);
  assert.deepEqual(
    lines.map(({ fields }) => fields["count"]),
    [2],
  );
  dam.open();
  await settled();
  for (const lane of ["a", "a", "b"]) send(lane);
  assert.equal(sent.length, 6);
  assert.equal(clock.timers, 0);
});
