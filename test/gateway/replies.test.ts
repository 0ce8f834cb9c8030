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
    replies.send(
      lane,
      () => {
        sent.push(lane);
        return dam.deliver();
      },
      false,
    );
  for (const lane of ["a", "a", "a", "b", "b"]) void send(lane);
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
  for (const lane of ["a", "a", "b"]) void send(lane);
  assert.equal(sent.length, 6);
  assert.equal(clock.timers, 0);
});

it("let one that has patience wait for its turn, and others pass it", async () => {
  const clock = createManualClock();
  const { log, lines } = createRecorder();
  const replies = createReplies({ clock, log, perLane: 1, inAll: 3 });
  const dam = createDam();
  const sent: string[] = [];
  const send = (lane: string, name: string): Promise<void> =>
    replies.send(
      lane,
      () => {
        sent.push(name);
        return dam.deliver();
      },
      true,
    );
  const all = [send("a", "a1"), send("a", "a2"), send("b", "b1"), send("a", "a3")];
  assert.deepEqual(sent, ["a1", "b1"]);
  dam.open();
  await Promise.all(all);
  assert.deepEqual(sent, ["a1", "b1", "a2", "a3"]);
  assert.deepEqual(lines, []);
});
