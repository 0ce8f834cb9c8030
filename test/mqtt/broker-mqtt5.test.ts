import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { IClientOptions, IPublishPacket } from "mqtt";
import { attacked } from "../support/attacked-broker.ts";
import { answering, openTestChannel } from "../support/channel.ts";
import { digits, field, packet } from "../support/hostile-broker.ts";
import { packetsIn } from "../support/packets.ts";
import { until } from "../support/until.ts";

type Attacked = Awaited<ReturnType<typeof attacked>>;

/** A client of MQTT 5, and what it hears. */
async function enter(broker: Attacked, options: IClientOptions = {}) {
  const heard: IPublishPacket[] = [];
  const client = await broker.enter(
    { protocolVersion: 5, ...options },
    (_topic, _payload, message) => heard.push(message),
  );
  return { client, heard, texts: () => heard.map(({ payload }) => payload.toString()) };
}

const hello = (id: string, properties: readonly number[] = [], flags = 2): Buffer =>
  packet(0x10, field("MQTT"), [5, flags, 0, 0], [properties.length, ...properties], field(id));

/** A raw client of MQTT 5 that was let in. */
async function rawEntered(broker: Attacked, connect: Buffer) {
  const raw = broker.raw();
  raw.socket.write(connect);
  await until("CONNACK", () => packetsIn(raw.got).length > 0);
  const [connack] = packetsIn(raw.got);
  return { raw, connack: [...(connack?.bytes ?? [])], packets: () => packetsIn(raw.got).slice(1) };
}

const kept = (clean: boolean, sessionExpiryInterval: number): IClientOptions => ({
  clientId: "kept",
  clean,
  properties: { sessionExpiryInterval },
});

const property = (id: number, value: string): Buffer =>
  Buffer.concat([Buffer.from([id]), field(value)]);

describe("the built-in broker on MQTT 5", () => {
  it("hands a message on with its properties, but those of the connection, and to 3.1.1 without", async () => {
    await using broker = await attacked();
    const properties = {
      contentType: "application/json",
      responseTopic: "a/b",
      correlationData: Buffer.from([0, 1, 255]),
      payloadFormatIndicator: true,
      messageExpiryInterval: 60,
      userProperties: { name: ["one", "two"], ["__proto__"]: "own", empty: "" },
    };
    for (const qos of [0, 1, 2] as const) {
      const five = await enter(broker);
      const other = await enter(broker, { protocolVersion: 4 });
      for (const { client } of [five, other]) await client.subscribeAsync(`t${qos}`, { qos });
      await five.client.publishAsync(`t${qos}`, "hi", { qos, properties });
      await until("both hear it", () => five.heard.length + other.heard.length === 2);
      const [got] = five.heard;
      const { messageExpiryInterval, userProperties, ...rest } = got?.properties ?? {};
      assert.deepEqual({ ...userProperties }, { ...properties.userProperties });
      assert.ok(messageExpiryInterval === 60 || messageExpiryInterval === 59);
      const { messageExpiryInterval: _m, userProperties: _u, ...sent } = properties;
      assert.deepEqual({ ...rest }, sent);
      assert.deepEqual([...five.texts(), ...other.texts()], ["hi", "hi"]);
      assert.equal(got?.qos, qos);
    }
  });

  it("carries a request with Response Topic and Correlation Data, and its answer", async () => {
    await using broker = await attacked();
    await using asked = openTestChannel(`tcp://127.0.0.1:${broker.port}`, {
      settings: { qos: 1 },
      onRequest: answering("ok"),
    });
    assert.equal((await asked.ready()).protocol, 5);
    const { client, heard } = await enter(broker);
    const responseTopic = "/picoclaw/edge/hall/r/17";
    await client.subscribeAsync(responseTopic, { qos: 1 });
    await client.publishAsync("/picoclaw/edge/hall/request", '{"text":"hi"}', {
      qos: 1,
      properties: { responseTopic, correlationData: Buffer.from("c-17") },
    });
    await until("the answer", () => heard.length === 1);
    assert.equal(heard[0]?.payload.toString(), '{"text":"ok","seq":0,"done":true}');
    assert.equal(heard[0]?.properties?.correlationData?.toString(), "c-17");
    assert.equal(heard[0]?.properties?.contentType, "application/json");
  });

  it("says with reason 16 that nobody gets a message, and only then", async () => {
    await using broker = await attacked();
    const { client } = await enter(broker);
    const reasonOf = async (topic: string, qos: 1 | 2): Promise<number | undefined> => {
      const acknowledged = new Promise<number | undefined>((resolve) => {
        client.on("packetreceive", ({ cmd, ...rest }) => {
          if ((cmd === "puback" || cmd === "pubrec") && "reasonCode" in rest) {
            resolve(rest.reasonCode);
          }
        });
      });
      client.publish(topic, "x", { qos });
      return acknowledged;
    };
    await client.subscribeAsync("some/body");
    for (const qos of [1, 2] as const) {
      assert.equal(await reasonOf("no/body", qos), 16);
      assert.equal(await reasonOf("some/body", qos), 0);
    }
  });

  it("refuses with a reason of MQTT 5", async () => {
    await using broker = await attacked();
    for (const [name, bytes, reason] of [
      ["a client id that is too long", hello("x".repeat(300)), 0x85],
      ["Receive Maximum 0", hello("a", [0x21, 0, 0]), 0x82],
      ["authentication by a method", hello("a", [0x15, 0, 1, 0x61]), 0x8c],
    ] as const) {
      const { raw, connack } = await rawEntered(broker, bytes);
      assert.deepEqual(connack, [0, reason, 0], name);
      await until("it is cut", () => raw.isCut);
    }
    await broker.stillServes();
  });

  it("assigns a client id, and says what it takes", async () => {
    await using broker = await attacked();
    const { client } = await enter(broker, { clientId: "", clean: true });
    assert.match(client.options.clientId ?? "", /^(auto-|$)/);
    const { connack } = await rawEntered(broker, hello(""));
    const [present, reason, , ...properties] = connack;
    assert.deepEqual([present, reason], [0, 0]);
    assert.deepEqual(properties.slice(0, 5), [0x27, 0, 16, 0, 0]);
    assert.match(Buffer.from(properties).toString("latin1"), /auto-[0-9a-f-]{36}/);
  });

  it("sends no more than Receive Maximum, and none that is larger than the client takes", async () => {
    await using broker = await attacked();
    const { raw, packets } = await rawEntered(
      broker,
      hello("small", [0x21, 0, 3, 0x27, 0, 0, 0, 64]),
    );
    raw.socket.write(packet(0x82, [0, 1, 0], field("t"), [1]));
    await until("SUBACK", () => packets().length === 1);
    assert.deepEqual([...(packets()[0]?.bytes ?? [])], [0, 1, 0, 1]);
    const { client } = await enter(broker);
    for (const text of ["1", "x".repeat(100), "2", "3", "4", "5"]) {
      await client.publishAsync("t", text, { qos: 1 });
    }
    const published = () => packets().filter(({ type }) => type === 3);
    await until("three have come", () => published().length === 3);
    await broker.stillServes();
    assert.equal(published().length, 3);
    for (const { id } of published()) raw.socket.write(packet(0x40, [id >> 8, id & 255]));
    await until("the rest has come", () => published().length === 5);
    const texts = published().map(({ bytes }) => bytes.subarray(-1).toString());
    assert.deepEqual(texts, ["1", "2", "3", "4", "5"]);
  });

  it("keeps a session for its time, unless the client starts anew", async () => {
    await using broker = await attacked();
    const first = await enter(broker, kept(true, 60));
    await first.client.subscribeAsync("news", { qos: 1 });
    await first.client.endAsync();
    const sender = await enter(broker);
    const expiring = { qos: 1, properties: { messageExpiryInterval: 1 } } as const;
    await sender.client.publishAsync("news", "old", expiring);
    await sender.client.publishAsync("news", "one", { qos: 1 });
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    const second = await enter(broker, kept(false, 1));
    await until("what was kept", () => second.heard.length > 0);
    assert.deepEqual(second.texts(), ["one"]);
    await second.client.endAsync();
    await until("it is over", () => !broker.hasSubscriber("news"));
    const third = await enter(broker, kept(false, 60));
    await third.client.subscribeAsync("news", { qos: 1 });
    await third.client.endAsync();
    const fourth = await enter(broker, kept(true, 60));
    assert.ok(!broker.hasSubscriber("news"));
    await fourth.client.subscribeAsync("news", { qos: 1 });
    await sender.client.publishAsync("news", "two", { qos: 1 });
    await until("it is heard", () => fourth.heard.length > 0);
    assert.deepEqual(fourth.texts(), ["two"]);
  });

  it("lets nobody without the password end another's session", async () => {
    await using broker = await attacked({}, { username: "me", password: "s3cret" });
    const known = { username: "me", password: "s3cret" };
    const owner = await enter(broker, {
      ...known,
      clientId: "kept",
      properties: { sessionExpiryInterval: 60 },
    });
    await owner.client.subscribeAsync("news", { qos: 1 });
    await owner.client.endAsync();
    const { raw, connack } = await rawEntered(broker, hello("kept"));
    assert.deepEqual(connack, [0, 0x87, 0]);
    await until("it is cut", () => raw.isCut);
    assert.ok(broker.hasSubscriber("news"));
  });

  it("goes on with a session that is taken over, though it would end with its connection", async () => {
    await using broker = await attacked();
    const first = await enter(broker, { clientId: "same" });
    await first.client.subscribeAsync("news", { qos: 1 });
    const second = await enter(broker, { clientId: "same", clean: false });
    await until("the first is cut", () => !first.client.connected);
    const sender = await enter(broker);
    await sender.client.publishAsync("news", "one", { qos: 1 });
    await until("it is heard", () => second.heard.length === 1);
    await second.client.endAsync();
    await until("it is over", () => !broker.hasSubscriber("news"));
  });

  it("answers UNSUBSCRIBE with a code for each filter, and acknowledgements that carry more", async () => {
    await using broker = await attacked();
    const { raw, packets } = await rawEntered(broker, hello("raw"));
    const ask = async (bytes: Buffer): Promise<string> => {
      const before = packets().length;
      raw.socket.write(bytes);
      await until("the answer", () => packets().length > before);
      const { type = 0, bytes: body } = packets().at(-1) ?? {};
      return `${type} ${body?.toString("hex")}`;
    };
    const filters = [field("a"), [0], field("b"), [2], field("$share/g/c"), [0]];
    assert.equal(await ask(packet(0x82, [0, 1, 0], ...filters)), "9 000100000280");
    assert.equal(await ask(packet(0xa2, [0, 2, 0], field("a"), field("b"))), "11 0002000000");
    raw.socket.write(packet(0x40, [0, 9, 0, 3, 0x1f, 0, 0]));
    assert.equal(await ask(packet(0xc0)), "13 ");
    raw.socket.write(packet(0xe0, [0, 0]));
    await until("it has left", () => raw.isCut);
  });

  it("refuses a subscription without its own messages, which it cannot keep apart", async () => {
    await using broker = await attacked();
    const { client } = await enter(broker);
    const granted = await client.subscribeAsync("t", { qos: 1, nl: true }).catch(() => []);
    assert.ok(granted.every(({ qos }) => qos >= 128));
  });

  const misdeeds: readonly [string, Buffer][] = [
    ["uses an alias for a topic", packet(0x30, field(""), [3, 0x23, 0, 1], [0x78])],
    ["has properties that never end", packet(0x30, field("t"), [0x7f, 1])],
    ["has a property that does not exist", packet(0x30, field("t"), [2, 0x7e, 1])],
    ["wants to authenticate anew", packet(0xf0, [0x19, 0])],
    ["sends filters of 60,000 bytes", packet(0x82, [0, 1, 0], field("x".repeat(60_000)), [0])],
  ];
  for (const [name, bytes] of misdeeds) {
    it(`cuts a client that ${name}, and no subscriber with it`, async () => {
      await using broker = await attacked();
      const witness = await enter(broker);
      await witness.client.subscribeAsync("#");
      const { raw } = await rawEntered(broker, hello("attacker"));
      raw.socket.write(bytes);
      await until("it is cut", () => raw.isCut);
      await broker.stillServes();
      assert.ok(witness.client.connected);
    });
  }

  it("hands on nothing that would end a subscriber's connection, whatever the properties say", async () => {
    await using broker = await attacked();
    const witness = await enter(broker);
    await witness.client.subscribeAsync("t");
    const { raw } = await rawEntered(broker, hello("attacker"));
    const oddities: Buffer[] = [
      Buffer.from([0x0b, 7]),
      Buffer.from([0x01, 77]),
      Buffer.concat([property(0x08, "a"), property(0x08, "b")]),
      Buffer.concat([property(0x03, "x\0y"), property(0x09, "")]),
      property(0x08, "a/#"),
      Buffer.from([0x02, 255, 255, 255, 255]),
      Buffer.concat([
        Buffer.from([0x26]),
        field("a"),
        field("b"),
        Buffer.from([0x26]),
        field("a"),
        field("c"),
      ]),
      Buffer.concat([Buffer.from([0x26]), field("constructor"), field("b")]),
    ];
    for (const properties of oddities) {
      raw.socket.write(
        packet(0x30, field("t"), digits(properties.length), properties, Buffer.from("x")),
      );
    }
    await until("all are heard", () => witness.heard.length === oddities.length);
    assert.ok(witness.client.connected);
    assert.ok(witness.texts().every((one) => one === "x"));
    const said = witness.heard.map(({ properties }) => Object.keys(properties ?? {}).join());
    assert.deepEqual(said, [
      "",
      "payloadFormatIndicator",
      "",
      "correlationData",
      "",
      "messageExpiryInterval",
      "userProperties",
      "userProperties",
    ]);
  });
});
