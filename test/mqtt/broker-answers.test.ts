import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import type { IClientPublishOptions } from "mqtt";
import { attacked, subscribe } from "../support/attacked-broker.ts";
import { packet } from "../support/hostile-broker.ts";
import { packetsIn } from "../support/packets.ts";
import { until } from "../support/until.ts";

const HALL = "/picoclaw/edge/hall/response";
const KITCHEN = "/picoclaw/edge/kitchen/response";
const NO_MATCHING_SUBSCRIBERS = 0x10;
/** Limits on waiting that no test reaches. */
const PATIENT = { answerMs: 60_000, stallMs: 60_000 };

type Attacked = Awaited<ReturnType<typeof attacked>>;

/** A gateway of MQTT 5; `acks` has the reason of each acknowledged answer, by its text. */
async function gateway(broker: Attacked) {
  const client = await broker.enter({
    protocolVersion: 5,
    clientId: "gateway",
    clean: false,
    properties: { sessionExpiryInterval: 3_600 },
  });
  await client.subscribeAsync("/picoclaw/edge/+/request", { qos: 1 });
  const acks = new Map<string, number>();
  const reasons = new Map<number, number>();
  client.on("packetreceive", (one) => {
    if (one.cmd !== "puback" && one.cmd !== "pubrec") return;
    reasons.set(one.messageId ?? 0, "reasonCode" in one ? (one.reasonCode ?? 0) : 0);
  });
  return {
    acks,
    answer: (topic: string, text: string, options: IClientPublishOptions = {}): void => {
      client.publish(topic, text, { qos: 1, ...options }, () => {
        acks.set(text, reasons.get(id) ?? 0);
      });
      const id = client.getLastMessageId();
    },
  };
}

/** A device of MQTT 3.1.1 that reads and acknowledges nothing by itself; flags 2 are Clean Session. */
async function silentDevice(broker: Attacked, id: string, topic: string, flags = 2) {
  const raw = await broker.rawEntered(id, { flags });
  raw.socket.write(subscribe(1, [topic], 2));
  await until("SUBACK", () => packetsIn(raw.got).some(({ type }) => type === 9));
  const published = () => packetsIn(raw.got).filter(({ type }) => type === 3);
  return {
    published,
    /** PUBACK, or PUBREC with 0x50. */
    acknowledge(first = 0x40): void {
      const ids = published().map(({ id: one }) => one);
      raw.socket.write(Buffer.concat(ids.map((one) => packet(first, [one >> 8, one & 255]))));
    },
    leave: () => raw.socket.destroy(),
  };
}

describe("the built-in broker acknowledges an answer to the gateway", () => {
  for (const [qos, first] of [
    [1, 0x40],
    [2, 0x50],
  ] as const) {
    for (const flags of [2, 0]) {
      const session = flags === 2 ? "a clean" : "a persistent";
      it(`when the device has acknowledged it: QoS ${qos}, ${session} session`, async () => {
        await using broker = await attacked(PATIENT);
        const { acks, answer } = await gateway(broker);
        const device = await silentDevice(broker, "hall", HALL, flags);
        answer(HALL, "warm", { qos });
        await until("the device has it", () => device.published().length === 1);
        await broker.stillServes();
        assert.equal(acks.size, 0);
        device.acknowledge(first);
        await until("the gateway has its acknowledgement", () => acks.get("warm") === 0);
      });
    }
  }

  it("when all connected devices have acknowledged it", async () => {
    await using broker = await attacked(PATIENT);
    const { acks, answer } = await gateway(broker);
    const all = [
      await silentDevice(broker, "one", HALL),
      await silentDevice(broker, "two", "/picoclaw/#"),
    ];
    answer(HALL, "warm");
    for (const device of all) {
      await until("the device has it", () => device.published().length === 1);
      await broker.stillServes();
      assert.equal(acks.size, 0);
      device.acknowledge();
    }
    await until("the gateway has its acknowledgement", () => acks.get("warm") === 0);
  });

  it("with reason 16 when the device is gone without having acknowledged it", async () => {
    await using broker = await attacked(PATIENT);
    const { acks, answer } = await gateway(broker);
    const device = await silentDevice(broker, "hall", HALL);
    answer(HALL, "warm");
    await until("the device has it", () => device.published().length === 1);
    device.leave();
    await until("reason 16", () => acks.get("warm") === NO_MATCHING_SUBSCRIBERS);
  });

  it("with reason 16 when the device acknowledges nothing, while others get theirs", async () => {
    await using broker = await attacked({ answerMs: 300, stallMs: 60_000 });
    const { acks, answer } = await gateway(broker);
    const silent = await silentDevice(broker, "hall", HALL);
    const device = await broker.enter();
    await device.subscribeAsync(KITCHEN, { qos: 1 });
    answer(HALL, "warm");
    answer(KITCHEN, "cold");
    await until("the other's is acknowledged", () => acks.get("cold") === 0);
    assert.equal(acks.has("warm"), false);
    await until("reason 16", () => acks.get("warm") === NO_MATCHING_SUBSCRIBERS);
    acks.clear();
    answer(HALL, "warm");
    await until("reason 16 at once", () => acks.get("warm") === NO_MATCHING_SUBSCRIBERS);
    await broker.stillServes();
    assert.equal(silent.published().length, 1, "the device has a copy already");
    silent.acknowledge();
    await broker.stillServes();
    answer(HALL, "later");
    await until("the device gets answers again", () => silent.published().length === 2);
    assert.equal(acks.has("later"), false);
    silent.acknowledge();
    await until("the gateway has its acknowledgement", () => acks.get("later") === 0);
  });

  it("when one device has acknowledged it and the other has not for some time", async () => {
    await using broker = await attacked({ answerMs: 300, stallMs: 60_000 });
    const { acks, answer } = await gateway(broker);
    const silent = await silentDevice(broker, "listener", "/picoclaw/#");
    const device = await broker.enter();
    await device.subscribeAsync(HALL, { qos: 1 });
    answer(HALL, "warm");
    await until("the gateway has its acknowledgement", () => acks.get("warm") === 0);
    answer(HALL, "cold");
    await until("the gateway need not wait again", () => acks.get("cold") === 0);
    await until("the listener gets both", () => silent.published().length === 2);
  });

  it("with reason 16 when another session takes the client id of a clean one", async () => {
    await using broker = await attacked(PATIENT);
    const { acks, answer } = await gateway(broker);
    const clean = await silentDevice(broker, "hall", HALL);
    answer(HALL, "warm");
    await until("the device has it", () => clean.published().length === 1);
    const next = await broker.rawEntered("hall", { flags: 0 });
    assert.equal(next.isKnown, false, "a clean session ends with its connection");
    await until("reason 16", () => acks.get("warm") === NO_MATCHING_SUBSCRIBERS);
  });

  it("when one device has acknowledged it, some time later, while another is slow", async () => {
    await using broker = await attacked({ answerMs: 400, stallMs: 60_000, inflight: 1 });
    const { acks, answer } = await gateway(broker);
    const slow = await silentDevice(broker, "listener", "/picoclaw/#");
    const device = await broker.enter();
    await device.subscribeAsync(HALL, { qos: 1 });
    for (let index = 0; index < 10; index += 1) answer(HALL, `${index}`);
    await until("all are acknowledged", async () => {
      await pause(200);
      slow.acknowledge();
      return acks.size === 10;
    });
    assert.ok([...acks.values()].every((reason) => reason === 0));
    assert.ok(slow.published().length < 9);
  });

  it("at once when the device has acknowledged nothing for a minute", async () => {
    await using broker = await attacked({ answerMs: 100, stallMs: 300 });
    const { acks, answer } = await gateway(broker);
    const silent = await silentDevice(broker, "hall", HALL);
    answer(HALL, "warm");
    await until("reason 16", () => acks.get("warm") === NO_MATCHING_SUBSCRIBERS);
    await pause(350);
    answer(HALL, "again");
    await until("the gateway has its acknowledgement", () => acks.get("again") === 0);
    await until("the device has both", () => silent.published().length === 2);
  });

  it("at once for a session whose client is away", async () => {
    await using broker = await attacked(PATIENT);
    const { acks, answer } = await gateway(broker);
    const device = await silentDevice(broker, "hall", HALL, 0);
    device.leave();
    await broker.stillServes();
    answer(HALL, "warm");
    await until("the gateway has its acknowledgement", () => acks.get("warm") === 0);
    const back = await broker.rawEntered("hall", { flags: 0 });
    await until("the device has it", () => packetsIn(back.got).some(({ type }) => type === 3));
  });

  it("at once when it is no answer", async () => {
    await using broker = await attacked(PATIENT);
    const { acks, answer } = await gateway(broker);
    await silentDevice(broker, "hall", "#");
    answer("/picoclaw/edge/status", "online", { retain: true });
    answer("lamp/set", "on");
    await until("both are acknowledged", () => acks.size === 2);
    assert.deepEqual([...acks.values()], [0, 0]);
  });
});
