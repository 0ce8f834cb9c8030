import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { pause } from "../../src/base/async.ts";
import { SILENT } from "../../src/base/log.ts";
import { ClientIdConflict } from "../../src/mqtt/client/client-id-conflict.ts";
import { Connection } from "../../src/mqtt/client/connection.ts";
import { refusalOf, unreachable } from "../../src/mqtt/client/reasons.ts";
import { publishTopic } from "../../src/mqtt/protocol/topics.ts";
import { channelFor, openTestChannel } from "../support/channel.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { fakeBroker, politeOn5 } from "../support/packets.ts";
import { until } from "../support/until.ts";

const SUSPECTED = /closes each connection soon, without a reason/;
const RECONNECT_MS = 20;

describe("two programs with one client id", () => {
  for (const protocol_version of [4, 5] as const) {
    it(
      `are told of it, and dial less and less often; mosquitto with MQTT ${protocol_version}`,
      needsMosquitto,
      async () => {
        await using broker = await startMosquitto();
        const waits: number[] = [];
        const conflicts: string[] = [];
        const open = (name: string) =>
          openTestChannel(broker.url, {
            settings: { protocol_version, client_id: "same" },
            reconnectMs: RECONNECT_MS,
            pause: (milliseconds, signal) => {
              waits.push(milliseconds);
              return pause(milliseconds, signal);
            },
            onConflict: () => conflicts.push(name),
          });
        await using one = open("one");
        await one.ready();
        await using two = open("two");
        const both = [one, two];
        await until("both say so", () => both.every(({ log }) => SUSPECTED.test(log.text())));
        assert.deepEqual([...new Set(conflicts)].toSorted(), ["one", "two"]);
        const line = one.log.lines.find(({ message }) => SUSPECTED.test(message));
        assert.match(
          String(line?.fields["why"]),
          /another program connects with the same client id \(same\)/,
        );
        assert.match(String(line?.fields["try"]), /stop the other program.*client_id/);
        await until("they wait long", () => waits.some((wait) => wait > 20 * RECONNECT_MS));
        assert.ok(waits.length < 40, `${waits.length} times`);
      },
    );
  }
});

describe("a connection that the broker closes soon, again and again", () => {
  for (const acknowledges of [false, true]) {
    const waits = acknowledges ? "as long as before" : "longer";
    it(`waits ${waits} if answers are ${acknowledges ? "published" : "only queued"}`, async () => {
      await using broker = await fakeBroker((packet, socket) => {
        if (packet.type !== 3 || acknowledges) politeOn5(packet, socket);
        if (packet.type === 3) socket.end();
      });
      const waited: number[] = [];
      const { settings } = channelFor(broker.url, { qos: 1, protocol_version: 5 });
      const connection: Connection = new Connection({
        settings,
        clientId: "same",
        connectTimeoutMs: 5_000,
        reconnectMs: 1_000,
        maximumPacketBytes: 1_048_576,
        log: SILENT,
        pause: async (milliseconds) => {
          waited.push(milliseconds);
          answer();
        },
        onMessage: () => {},
        onSession: (session) => session.subscribe(["in"], 1),
      });
      const publish = async (): Promise<void> => {
        await connection.ready();
        await connection.publish({ topic: publishTopic("out"), payload: "answer", qos: 1 });
      };
      const answer = (): void => void publish().catch(() => {});
      answer();
      await until("many connections", () => waited.length >= 8);
      await connection.close();
      assert.equal(
        waited.some((wait) => wait > 1_000),
        !acknowledges,
        waited.join(" "),
      );
    });
  }
});

describe("a conflict of client ids", () => {
  const closed = { ...unreachable("lost", undefined), closedByBroker: true };
  const attempt = { refusal: closed, waitMs: 100 };

  function conflict(more: { sharesClientId?: boolean } = {}) {
    let calls = 0;
    const onConflict = (): void => void (calls += 1);
    const guard = new ClientIdConflict({ clientId: "id", reconnectMs: 100, onConflict, ...more });
    const next = (connectedMs: number | undefined, refusal = closed) =>
      guard.next({ refusal, connectedMs }, { ...attempt, refusal });
    return { guard, next, calls: () => calls };
  }

  it("is suspected after three soon closes in a row, and waits double from the fifth on", () => {
    const { next, calls } = conflict();
    const waits = Array.from({ length: 20 }, () => next(50).waitMs);
    assert.deepEqual(waits.slice(0, 4), [100, 100, 100, 100]);
    const first = waits[4] ?? 0;
    assert.ok(first >= 150 && first <= 250, String(first));
    assert.ok(waits.every((wait) => wait <= 75_000));
    assert.ok((waits.at(-1) ?? 0) >= 45_000);
    assert.equal(calls(), 18);
  });

  it("is told, but dials as often, while connections answer requests", () => {
    const { guard, calls } = conflict();
    const waits = Array.from({ length: 20 }, () =>
      guard.next({ refusal: closed, connectedMs: 50, hasAnswered: true }, attempt),
    );
    assert.ok(waits.every(({ waitMs }) => waitMs === 100));
    assert.equal(calls(), 18);
  });

  it("is not suspected after a long connection, a failed dial, or a loss without a close", () => {
    const { next, calls } = conflict();
    for (let number = 0; number < 20; number += 1) {
      const connectedMs = number % 3 === 2 ? 5_000 : 50;
      assert.equal(next(connectedMs).waitMs, 100);
    }
    const lost = { ...closed, closedByBroker: false };
    for (let number = 0; number < 20; number += 1) assert.equal(next(50, lost).waitMs, 100);
    for (let number = 0; number < 20; number += 1) assert.equal(next(undefined).waitMs, 100);
    assert.equal(calls(), 0);
  });

  it("is told by the broker on MQTT 5, and is none where the client id is shared on purpose", () => {
    const stated = conflict();
    stated.next(5_000, { ...refusalOf(0x8e, "ended"), closedByBroker: false });
    assert.equal(stated.calls(), 1);
    const shared = conflict({ sharesClientId: true });
    for (let number = 0; number < 20; number += 1) assert.equal(shared.next(50).waitMs, 100);
    assert.equal(shared.calls(), 0);
  });
});
