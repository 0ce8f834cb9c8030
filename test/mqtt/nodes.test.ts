import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { NodeRotation, type NodeOutcome } from "../../src/mqtt/client/nodes.ts";
import { refusalOf, unreachable } from "../../src/mqtt/client/reasons.ts";
import { answering, openTestChannel, openTestDevice } from "../support/channel.ts";
import { freePort, needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { fakeBroker, polite, politeOn5 } from "../support/packets.ts";
import { collect, openTestRequester, requestOptions, watchAll } from "../support/requester.ts";
import { until } from "../support/until.ts";

const REQUEST = "/picoclaw/edge/c1/request";
const RESPONSE = "/picoclaw/edge/c1/response";
/** Bun ends a test after 5 s unless told otherwise. */
const slow = { ...needsMosquitto, timeout: 30_000 };

const connected = ({ log }: ReturnType<typeof openTestChannel>): unknown[] =>
  log.lines.filter(({ message }) => message === "connected").map(({ fields }) => fields["broker"]);

const answer = '{"text":"ok","seq":0,"done":true}';

const nodes = (count: number) =>
  Array.from({ length: count }, (_, index) => ({
    broker: `tcp://${index}`,
    address: { kind: "unix" as const, path: "/" },
  }));
const failed = (why: string): NodeOutcome => ({
  refusal: unreachable("the connection failed", why),
  connectedMs: undefined,
});
const lost = (connectedMs: number): NodeOutcome => ({
  refusal: unreachable("the connection to the broker was lost", undefined),
  connectedMs,
});
const refused: NodeOutcome = {
  refusal: refusalOf(0x87, "the broker refused the connection"),
  connectedMs: undefined,
};
const within = (waitMs: number, least: number, most: number): void => {
  assert.ok(waitMs >= least && waitMs <= most, `${waitMs} ms, not ${least} to ${most}`);
};

describe("the turn of several nodes", () => {
  it("is one node, after the documented time, where there is one", () => {
    const rotation = new NodeRotation(nodes(1), 5_000);
    for (const outcome of [failed("a"), lost(1), lost(1e6), refused]) {
      assert.deepEqual(rotation.next(outcome), { refusal: outcome.refusal, waitMs: 5_000 });
      assert.equal(rotation.current().broker, "tcp://0");
    }
  });

  it("goes on soon within a round, waits between rounds, and then names each node", () => {
    const rotation = new NodeRotation(nodes(3), 5_000);
    for (const expected of ["tcp://0", "tcp://1"]) {
      assert.equal(rotation.current().broker, expected);
      const { refusal, waitMs } = rotation.next(failed("down"));
      assert.equal(refusal, undefined);
      within(waitMs, 0, 500);
    }
    const { refusal, waitMs } = rotation.next(refused);
    within(waitMs, 3_750, 6_250);
    assert.equal(refusal?.disposition, "retry");
    const { code, message, why, remedy } = refusal.failure;
    assert.equal(code, "unreachable");
    assert.equal(message, "none of the 3 brokers can be used");
    assert.match(
      why ?? "",
      /^tcp:\/\/0: the connection failed \(down\); tcp:\/\/1: .*; tcp:\/\/2: .*not authorized/,
    );
    assert.match(remedy ?? "", /check username and password/);
    assert.equal(rotation.current().broker, "tcp://0");
  });

  it("goes to the next node after a loss: soon, but not after a short connection", () => {
    const rotation = new NodeRotation(nodes(2), 5_000);
    const long = rotation.next(lost(5_000));
    assert.equal(long.refusal?.failure.message, "the connection to the broker was lost");
    within(long.waitMs, 0, 500);
    assert.equal(rotation.current().broker, "tcp://1");
    within(rotation.next(lost(4_999)).waitMs, 3_750, 6_250);
    assert.equal(rotation.current().broker, "tcp://0");
  });

  it("ends where every node refuses, or the broker ends the connection for good", () => {
    const rotation = new NodeRotation(nodes(2), 5_000);
    assert.equal(rotation.next(refused).refusal, undefined);
    const all = rotation.next(refused).refusal;
    assert.deepEqual([all?.disposition, all?.failure.code], ["fatal", "refused"]);
    const takenOver = { refusal: refusalOf(0x8e, "the broker ended"), connectedMs: 1e6 };
    assert.equal(rotation.next(takenOver).refusal?.disposition, "fatal");
    const wrong = { disposition: "fatal", failure: new Failure("config", "no file") } as const;
    assert.equal(rotation.next({ refusal: wrong, connectedMs: undefined }).refusal, wrong);
  });
});

describe("a channel with several nodes", () => {
  it("serves at the next one after kill -9 of one of two, and back again", slow, async () => {
    await using a = await startMosquitto();
    await using b = await startMosquitto();
    await using asked = openTestChannel([a.url, b.url], {
      settings: { qos: 1 },
      reconnectMs: 100,
      onRequest: answering("ok"),
    });
    await asked.ready();
    assert.deepEqual(connected(asked), [a.url]);
    for (const [down, up] of [
      [a, b],
      [b, a],
    ] as const) {
      await down.kill();
      const moves = connected(asked).length;
      await until("moved", () => connected(asked).length > moves);
      assert.equal(connected(asked).at(-1), up.url);
      assert.equal(asked.channel.problem(), undefined);
      await using device = await openTestDevice(up.url, RESPONSE);
      await device.client.publishAsync(REQUEST, '{"text":"hi"}', { qos: 1 });
      assert.equal(String((await device.message()).payload), answer);
      await down.start();
    }
    const warned = asked.log.lines.filter(({ level }) => level === "warn");
    assert.ok(warned.some(({ fields }) => fields["broker"] === a.url));
    assert.ok(warned.some(({ fields }) => fields["broker"] === b.url));
    const ids = new Set(`${a.log()}${b.log()}`.match(/picoclaw-mqtt-edge-[0-9a-f]{8}/g));
    assert.equal(ids.size, 1);
  });

  it("finds the one that works at the start, and waits where none does", slow, async () => {
    const dead = `tcp://127.0.0.1:${await freePort()}`;
    await using broker = await startMosquitto();
    await using asked = openTestChannel([dead, broker.url]);
    await asked.ready();
    assert.deepEqual(connected(asked), [broker.url]);
    const problems: Failure[] = [];
    await using none = openTestChannel([dead, `${dead}/x`], {
      reconnectMs: 50,
      onProblem: (failure) => problems.push(failure),
    });
    await until("a round is over", () => problems.length > 0);
    assert.equal(none.channel.problem()?.message, "none of the 2 brokers can be used");
    assert.match(none.channel.problem()?.why ?? "", /ECONNREFUSED.*; tcp:.*\/x: .*ECONNREFUSED/);
  });

  it("passes over a node that refuses it, and ends where all do", slow, async () => {
    await using refusing = await fakeBroker(({ type }, socket) => {
      if (type === 1) socket.write(Buffer.from([0x20, 3, 0, 0x87, 0]));
    });
    await using broker = await startMosquitto();
    await using asked = openTestChannel([refusing.url, broker.url], { reconnectMs: 50 });
    await asked.ready();
    assert.match(asked.log.text(), /warn the broker refused the connection: not authorized/);
    await using none = openTestChannel([refusing.url, `${refusing.url}/x`], { reconnectMs: 50 });
    const ended = await none.channel.ended;
    assert.equal(ended?.code, "refused");
    assert.match(ended.why ?? "", /not authorized.*; tcp:.*\/x: .*not authorized/);
  });

  it("remembers for each node which protocol it speaks", slow, async () => {
    const versions: string[] = [];
    const node = (name: string, only4: boolean) =>
      fakeBroker((packet, socket) => {
        if (packet.type === 1) versions.push(`${name}${packet.version}`);
        if (packet.type === 1 && only4 && packet.version === 5) socket.end();
        else if (only4) polite(packet, socket);
        else politeOn5(packet, socket);
        // Subscribed: then the connection is lost.
        if (packet.type === 8) setTimeout(() => socket.destroy(), 20);
      });
    await using old = await node("old", true);
    await using recent = await node("new", false);
    await using asked = openTestChannel([old.url, recent.url], { reconnectMs: 20 });
    await until("two rounds", () => versions.filter((one) => one === "new5").length >= 2);
    assert.deepEqual(versions.slice(0, 5), ["old5", "old4", "new5", "old4", "new5"]);
    assert.ok(asked.log.text().includes("the broker speaks MQTT 3.1.1"));
  });
});

describe("send and listen with several nodes", () => {
  it("ask and watch at the first that works, and at the next after a loss", slow, async () => {
    await using a = await startMosquitto();
    await using b = await startMosquitto();
    await using gatewayA = openTestChannel(a.url, { onRequest: answering("a") });
    await using gatewayB = openTestChannel(b.url, { onRequest: answering("b") });
    await Promise.all([gatewayA.ready(), gatewayB.ready()]);
    const dead = `tcp://127.0.0.1:${await freePort()}`;
    await using device = await openTestRequester([dead, a.url, b.url]);
    const first = await collect(device, requestOptions());
    assert.equal(first[0]?.text, "a");
    const watch = watchAll(device);
    await until("watching", () => watch.seen.length > 0);
    await a.kill();
    await until("restored", () =>
      watch.seen.some((one) => "state" in one && one.state === "restored"),
    );
    const brokers = watch.seen.flatMap((one) => ("broker" in one ? [one.broker] : []));
    assert.deepEqual(brokers, [a.url, b.url]);
    const second = await collect(device, requestOptions());
    assert.equal(second[0]?.text, "b");
    await watch.end();
  });

  it("give up within the time for connecting, and name each", { timeout: 30_000 }, async () => {
    await using mute = await fakeBroker(() => {});
    const begun = performance.now();
    const opening = openTestRequester([mute.url, `${mute.url}/x`], { protocol_version: 5 }, 1_000);
    const failure = await opening.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    assert.ok(failure instanceof Failure);
    assert.equal(failure.code, "unreachable");
    assert.equal(failure.message, "none of the 2 brokers can be used");
    assert.match(failure.why ?? "", /no CONNACK within 0\.5 s\); tcp:.*\/x: .*0\.5 s/);
    assert.ok(performance.now() - begun < 10_000);
  });
});
