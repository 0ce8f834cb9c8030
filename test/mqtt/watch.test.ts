import assert from "node:assert/strict";
import { it } from "node:test";
import { answering, openTestChannel } from "../support/channel.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { answerOf, openTestRequester, requestOptions, watchAll } from "../support/requester.ts";
import { until } from "../support/until.ts";

const slow = { ...needsMosquitto, timeout: 30_000 };

it(
  "watching shows questions and answers as they pass, of everyone or of some",
  needsMosquitto,
  async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url, { onRequest: answering("ok") });
    await asked.ready();
    await using device = await openTestRequester(broker.url);
    await using first = await openTestRequester(broker.url);
    await using second = await openTestRequester(broker.url);
    const everyone = watchAll(first);
    const some = watchAll(second, ["c2"]);
    await until("both watch", () => everyone.seen.length === 1 && some.seen.length === 1);
    for (const client of ["c1", "c2"])
      await answerOf(device, requestOptions({ client, id: client }));
    await until("all are seen", () => everyone.seen.length >= 5 && some.seen.length >= 3);
    const short = (watched: typeof everyone): unknown[] =>
      watched.seen
        .filter((one) => one.type === "message")
        .map(({ client, direction, text, id, done, retained }) => [
          client,
          direction,
          text,
          id,
          done,
          retained,
        ]);
    assert.deepEqual(short(everyone), [
      ["c1", "request", "hi", "c1", undefined, false],
      ["c1", "response", "ok", "c1", true, false],
      ["c2", "request", "hi", "c2", undefined, false],
      ["c2", "response", "ok", "c2", true, false],
    ]);
    assert.deepEqual(short(some), short(everyone).slice(2));
    await everyone.end();
    await some.end();
  },
);

it("watching yields the loss and the return of the broker, with the gap", slow, async () => {
  await using broker = await startMosquitto();
  await using device = await openTestRequester(broker.url);
  const watched = watchAll(device);
  await until("it watches", () => watched.seen.length === 1);
  await broker.kill();
  await until("the loss is told", () => watched.seen.length === 2);
  await broker.start();
  await until("the return is told", () => watched.seen.length >= 3).catch((error: unknown) => {
    throw new Error(`${JSON.stringify(watched.seen)} ${broker.log()}`, { cause: error });
  });
  const [connected, lost, restored] = watched.seen;
  assert.ok(connected?.type === "connection" && connected.state === "connected");
  assert.ok(lost?.type === "connection" && lost.state === "lost" && lost.reason);
  assert.ok(restored?.type === "connection" && restored.state === "restored");
  assert.ok((restored.gapMs ?? 0) >= 900 && (restored.gapMs ?? 0) < 5_000, String(restored.gapMs));
  await watched.end();
});
