import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { OtherGateways } from "../../src/mqtt/agent-channel/other-gateways.ts";
import { decodeInfo, processOf, type GatewayInfo } from "../../src/mqtt/protocol/info.ts";
import {
  openTestChannel,
  openTestDevice,
  type TestChannel,
  type TestDevice,
  retained,
} from "../support/channel.ts";
import { needsMosquitto, startMosquitto, type Mosquitto } from "../support/mosquitto.ts";
import { fakeBroker, politeOn5 } from "../support/packets.ts";
import { until } from "../support/until.ts";

const INFO = "/picoclaw/edge/info";
const STATUS = "/picoclaw/edge/status";
const ANOTHER = /another gateway serves this agent id/;

type More = NonNullable<Parameters<typeof openTestChannel>[1]>;

/** A gateway that notices others. */
function openGateway(broker: Mosquitto, instance: string, more: More = {}): TestChannel {
  return openTestChannel(broker.url, {
    info: { version: "1.2.3", instance, host: () => `host-of-${instance}` },
    ...more,
    settings: { probe_secs: 60, ...more.settings },
  });
}

const found = (gateway: TestChannel): string[] =>
  gateway.channel.otherGateways().map(({ instance }) => instance);

const warnings = (gateway: TestChannel): string[] =>
  gateway.log.lines.filter(({ message }) => ANOTHER.test(message)).map(({ message }) => message);

async function infoOf(broker: Mosquitto): Promise<GatewayInfo> {
  const info = decodeInfo(Buffer.from(await retained(broker, INFO)));
  assert.ok(info);
  return info;
}

const read = (value: unknown) => decodeInfo(Buffer.from(JSON.stringify(value)));

const counted = ({ messages }: TestDevice, topic: string): number =>
  messages.filter((one) => one.topic === topic).length;

describe("two gateways of one agent id", () => {
  for (const protocol_version of [5, 4] as const) {
    const settings = { protocol_version };

    it(`know each other by name, on MQTT ${protocol_version}`, needsMosquitto, async () => {
      await using broker = await startMosquitto();
      await using device = await openTestDevice(broker.url, INFO);
      await using one = openGateway(broker, "one", { settings });
      await one.ready();
      await device.message(0);
      assert.deepEqual(found(one), []);
      await using two = openGateway(broker, "two", { settings });
      await until("both know", () => found(one).length === 1 && found(two).length === 1);
      assert.deepEqual([found(one), found(two)], [["two"], ["one"]]);
      const line = one.log.lines.find(({ message }) => ANOTHER.test(message));
      assert.ok(line);
      assert.equal(line.level, "warn");
      assert.match(line.message, /answered twice/);
      assert.deepEqual(
        [line.fields["instance"], line.fields["host"], line.fields["version"]],
        ["two", "host-of-two", "1.2.3"],
      );
      assert.deepEqual([warnings(one).length, warnings(two).length], [1, 1]);
      const { instance, others } = await infoOf(broker);
      assert.equal(others.length, 1);
      assert.notEqual(others[0]?.instance, instance);
    });

    it(
      `leave status and info to the one that stays, on MQTT ${protocol_version}`,
      needsMosquitto,
      async () => {
        await using broker = await startMosquitto();
        await using one = openGateway(broker, "one", { settings });
        await one.ready();
        await using two = openGateway(broker, "two", { settings });
        await until("both know", () => found(one).length === 1 && found(two).length === 1);
        await using device = await openTestDevice(broker.url, STATUS);
        await device.message(0);
        await two.channel.close();
        await until("it is noticed", () => found(one).length === 0);
        assert.match(one.log.text(), /has ended.*"instance":"two"/);
        assert.ok(!device.texts().includes("offline"), device.texts().join());
        await until("its info", async () => (await infoOf(broker)).instance === "one");
        assert.deepEqual((await infoOf(broker)).others, []);
        await one.channel.close();
        assert.equal(await retained(broker, STATUS), "offline");
      },
    );
  }

  it("say offline where both end at once", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using one = openGateway(broker, "one");
    await using two = openGateway(broker, "two");
    await until("both know", () => found(one).length === 1 && found(two).length === 1);
    await Promise.all([one.channel.close(), two.channel.close()]);
    assert.equal(await retained(broker, STATUS), "offline");
  });

  it("are online again after a will, and after whatever others write", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using one = openGateway(broker, "one");
    await one.ready();
    await using device = await openTestDevice(broker.url, "/picoclaw/edge/+");
    await until("it is announced", () => counted(device, INFO) > 0);
    const write = (topic: string, text: string) =>
      device.client.publishAsync(topic, text, { qos: 1, retain: true });
    await until("the probe has subscribed", () => broker.log().includes(`${STATUS} (QoS 0)`));
    await write(STATUS, "offline");
    await until("online again", async () => (await retained(broker, STATUS)) === "online");
    for (const text of ["nonsense", "{}", '{"instance": 7}']) {
      await write(INFO, text);
      await until("its info again", async () => (await retained(broker, INFO)) !== text);
      assert.equal((await infoOf(broker)).instance, "one");
    }
    await write(INFO, "");
    await until("its info again", () => device.texts().at(-1)?.includes('"one"') === true);
    assert.deepEqual(warnings(one), []);
  });

  it("do not write for ever over what another program writes", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using one = openGateway(broker, "one");
    await one.ready();
    await using device = await openTestDevice(broker.url, INFO);
    // A program that insists, in a tighter loop than any gateway's.
    device.client.on("message", (topic, payload) => {
      if (String(payload) !== "mine") device.client.publish(topic, "mine", { retain: true });
    });
    const mine = () => device.texts().filter((text) => text === "mine").length;
    await until("it has tried", () => mine() > 8);
    const before = mine();
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    assert.ok(mine() - before <= 3, `${mine() - before} more`);
  });

  it("find a third, and forget one that ends", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using one = openGateway(broker, "one");
    await using two = openGateway(broker, "two");
    await using three = openGateway(broker, "three");
    const all = [one, two, three];
    await until("all know", () => all.every((gateway) => found(gateway).length === 2));
    assert.match(warnings(one).at(-1) ?? "", /answered 3 times/);
    await two.channel.close();
    await until("it is noticed", () => found(one).length === 1 && found(three).length === 1);
    assert.deepEqual([found(one), found(three)], [["three"], ["one"]]);
  });

  it("of one home are told as that", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using one = openGateway(broker, "same");
    await one.ready();
    const own = JSON.stringify({
      ...JSON.parse(await retained(broker, INFO)),
      since: "2020-01-01T00:00:00.000Z",
      gateways: [],
    });
    await using device = await openTestDevice(broker.url, INFO);
    // What a former process of this home left, also where a broker delivers it late.
    await device.client.publishAsync(INFO, own, { qos: 1, retain: true });
    await until("it is overwritten", async () => (await retained(broker, INFO)) !== own);
    assert.deepEqual(warnings(one), []);
    await using two = openGateway(broker, "same");
    await until("both know", () => found(one).length === 1 && found(two).length === 1);
    assert.match(one.log.text(), /copy of this home/);
  });
});

/** Ends each connection that wants to read info. */
const forbidding = () =>
  fakeBroker((packet, socket) => {
    if (packet.type === 8 && packet.bytes.includes(INFO)) socket.destroy();
    else politeOn5(packet, socket);
  });

describe("a broker that ends the connection for a subscription to info", () => {
  it("is asked twice, and then no more", async () => {
    await using broker = await forbidding();
    await using one = openTestChannel(broker.url, {
      settings: { probe_secs: 60 },
      reconnectMs: 20,
    });
    await until("it gives up", () => one.log.text().includes("cannot be noticed"));
    await until("a third connection", () => broker.connections() === 3);
    await one.ready();
    assert.equal(one.channel.problem(), undefined);
  });

  it("is asked three times with exclusive, and then served with a warning", async () => {
    await using broker = await forbidding();
    await using one = openTestChannel(broker.url, { exclusive: true, reconnectMs: 20 });
    await one.ready();
    assert.equal(broker.connections(), 4);
    assert.match(one.log.text(), /warn gateway\.exclusive cannot be kept/);
  });
});

/** An info, as another gateway publishes it. */
const gateway = (instance: string, more: Partial<GatewayInfo> = {}): GatewayInfo => {
  const facts = { instance, version: "1", since: `since ${instance}` };
  return { ...facts, gateways: [facts], others: [], exclusive: false, ...more };
};

describe("the other gateways of an agent id", () => {
  const self = gateway("self");
  const tracked = () => new OtherGateways(self, (name) => name === processOf(gateway("friend")));

  it("are not those of the own cluster", () => {
    const others = tracked();
    assert.ok(others.isOurs(self));
    assert.ok(others.isOurs(gateway("friend")));
    assert.ok(others.isOurs(gateway("intake", { gateways: [gateway("intake"), self] })));
    assert.ok(!others.isOurs(gateway("other")));
    assert.ok(!others.isOurs({ ...self, since: "later", gateways: [] }));
  });

  it("serve once they name us, and are answered until then", () => {
    const others = tracked();
    const first = others.take(gateway("other"));
    assert.deepEqual([first.mustAnswer, first.isFound], [true, false]);
    assert.deepEqual(others.serving(), []);
    assert.equal(others.named().length, 1);
    const second = others.take(gateway("other", { others: [self] }));
    assert.deepEqual([second.mustAnswer, second.isFound], [false, true]);
    const third = others.take(gateway("other", { others: [self] }));
    assert.deepEqual([third.mustAnswer, third.isFound], [false, false]);
    assert.deepEqual(others.take(gateway("other", { state: "ended" })), {
      isProof: false,
      mustAnswer: true,
      isFound: false,
      isGone: true,
    });
    assert.deepEqual(others.serving(), []);
  });

  it("of an earlier version serve as soon as they are heard", () => {
    const others = tracked();
    const heard = others.take(gateway("old", { gateways: undefined }));
    assert.deepEqual([heard.mustAnswer, heard.isFound], [false, true]);
  });

  it("are one as long as they are of one cluster, whichever of them hears", () => {
    const others = tracked();
    const gateways = [gateway("first"), gateway("second")];
    assert.ok(others.take(gateway("first", { gateways, others: [self] })).isFound);
    const next = others.take(gateway("second", { gateways }));
    assert.deepEqual([next.mustAnswer, next.isFound], [true, false]);
    assert.deepEqual(
      others.serving().map(({ instance }) => instance),
      ["second"],
    );
  });

  it("are forgotten when they are silent, or never served", () => {
    const others = tracked();
    others.take(gateway("a", { others: [self] }));
    others.take(gateway("b", { others: [self] }));
    others.take(gateway("c"));
    others.expectAll();
    others.take(gateway("a"));
    assert.deepEqual(
      others.named().map(({ instance }) => instance),
      ["a"],
    );
    assert.deepEqual(
      others.forgetSilent().map(({ instance }) => instance),
      ["b"],
    );
    assert.equal(others.serving().length, 1);
  });

  it("are bounded, whatever is invented", () => {
    const others = tracked();
    for (let number = 0; number < 100; number += 1) others.take(gateway(`x${number}`));
    assert.equal(others.named().length, 16);
  });

  it("are read from untrusted JSON", () => {
    assert.equal(decodeInfo(Buffer.from("{")), undefined);
    assert.equal(decodeInfo(Buffer.alloc(70_000, 0x20)), undefined);
    assert.equal(read([]), undefined);
    assert.equal(read({ instance: "a" }), undefined);
    assert.deepEqual(read({ instance: "a", since: "b", others: [7, { instance: "c" }] }), {
      instance: "a",
      version: "",
      since: "b",
      gateways: undefined,
      others: [],
      exclusive: false,
      state: undefined,
    });
    assert.equal(read({ instance: "a".repeat(100), since: "b" })?.instance.length, 64);
  });
});
