import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { PUSH_ADDRESS } from "../../src/base/request-extras.ts";
import { decodePart } from "../../src/mqtt/protocol/wire.ts";
import {
  answering,
  follow,
  openTestChannel,
  openTestSetup,
  openTestDevice,
  reject,
  run,
} from "../support/channel.ts";
import { publish } from "../support/hostile-broker.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { fakeBroker, politeOn5 } from "../support/packets.ts";
import { until } from "../support/until.ts";

const REQUEST = "/picoclaw/edge/c1/request";
const RESPONSE = "/picoclaw/edge/c1/response";
const question = (text: string, more: object = {}): string => JSON.stringify({ text, ...more });

describe("a channel on MQTT 5", () => {
  it(
    "answers with correlation, content type, payload format and what is left of the expiry",
    needsMosquitto,
    async () => {
      await using broker = await startMosquitto();
      await using asked = openTestChannel(broker.url, { settings: { qos: 1 } });
      assert.equal((await asked.ready()).protocol, 5);
      await using device = await openTestDevice(broker.url, "/picoclaw/edge/c1/#");
      const own = "/picoclaw/edge/c1/answers/7";
      const properties = {
        correlationData: Buffer.from([0, 255, 7]),
        responseTopic: own,
        messageExpiryInterval: 40,
      };
      await device.client.publishAsync(REQUEST, question("hi", { id: "r-1" }), {
        qos: 1,
        properties,
      });
      const request = await asked.request();
      assert.deepEqual(
        [request.client, request.text, request.id, request.stream],
        ["c1", "hi", "r-1", false],
      );
      assert.ok(Math.abs((request.expiresAt ?? 0) - Date.now() - 40_000) < 3_000);
      await request.reply({ text: "a" });
      await request.reply({ text: "b", done: true });
      await until("three messages", () => device.messages.length === 3);
      const answers = device.messages.filter(({ topic }) => topic === own);
      assert.deepEqual(
        answers.map(({ payload }) => String(payload)),
        ['{"text":"a","id":"r-1","seq":0}', '{"text":"b","id":"r-1","seq":1,"done":true}'],
      );
      for (const { properties: seen, retain } of answers) {
        assert.deepEqual(Buffer.from(seen?.correlationData ?? []), properties.correlationData);
        assert.equal(seen?.contentType, "application/json");
        assert.equal(Number(seen?.payloadFormatIndicator), 1);
        const left = seen?.messageExpiryInterval ?? 0;
        assert.ok(left > 30 && left <= 40, String(left));
        assert.equal(retain, false);
      }
    },
  );

  const foreign = ["c2/response", "../elsewhere", "c1/request", "c1/+"];
  for (const [index, levels] of foreign.entries()) {
    it(`refuses a response topic that is not allowed: ${levels}`, needsMosquitto, async () => {
      await using broker = await startMosquitto();
      await using asked = openTestChannel(broker.url);
      await asked.ready();
      await using device = await openTestDevice(broker.url, "#");
      // mosquitto 2.0.11 lets wildcards through.
      const responseTopic = index === 1 ? "/elsewhere" : `/picoclaw/edge/${levels}`;
      await device.client.publishAsync(REQUEST, question("hi", { id: "r-1" }), {
        qos: 1,
        properties: { responseTopic, correlationData: Buffer.from("7") },
      });
      const request = await asked.request();
      assert.deepEqual([request.text, request.rejected?.code], ["", "bad_request"]);
      await reject(request);
      const heard = (): (typeof device.messages)[number] | undefined =>
        device.messages.find(({ topic }) => topic !== REQUEST && topic.includes("/c"));
      await until("it is told", () => heard() !== undefined);
      assert.equal(heard()?.topic, RESPONSE);
      assert.equal(String(heard()?.properties?.correlationData), "7");
      assert.deepEqual(JSON.parse(String(heard()?.payload)), {
        text: "The response topic is not allowed: it must lie under /picoclaw/edge/c1/ and not end in /request.",
        id: "r-1",
        error: { code: "bad_request" },
        seq: 0,
        done: true,
      });
      const shown = asked.log.lines.filter(({ message }) =>
        message.includes("response topic is not allowed"),
      );
      assert.equal(shown.length, 1);
      assert.equal(asked.channel.problem(), undefined);
    });
  }

  const rpc = { responseTopic: "/picoclaw/edge/c1/rpc", correlationData: Buffer.from("1") };
  const cases: readonly (readonly [string, object, object, boolean])[] = [
    ["a response topic and correlation data is answered in one message", rpc, {}, false],
    ["the two and the wish to stream is streamed", rpc, { stream: true }, true],
    ["a response topic alone is streamed", { responseTopic: rpc.responseTopic }, {}, true],
    ["correlation data alone is streamed", { correlationData: rpc.correlationData }, {}, true],
  ];
  for (const [name, properties, more, stream] of cases) {
    it(`a request with ${name}`, needsMosquitto, async () => {
      await using setup = await openTestSetup();
      const { asked, device } = setup;
      await device.client.publishAsync(REQUEST, question("hi", more), { qos: 1, properties });
      assert.equal((await asked.request()).stream, stream);
    });
  }

  it("does not send an answer that has expired, but says so", needsMosquitto, async () => {
    await using setup = await openTestSetup();
    const { asked, device } = setup;
    await device.client.publishAsync(REQUEST, question("hi"), {
      properties: { messageExpiryInterval: 1 },
    });
    const request = await asked.request();
    await until("it has expired", () => Date.now() > (request.expiresAt ?? 0));
    await assert.rejects(request.reply({ text: "late", done: true }), { code: "expired" });
    await request.reply({ text: "too late", error: new Failure("expired", "x"), done: true });
    const { payload } = await device.message();
    assert.deepEqual(decodePart(Buffer.from(payload)), {
      text: "too late",
      seq: 0,
      done: true,
      error: { code: "expired" },
    });
    assert.equal(device.messages.length, 1);
  });

  it("sends the rest of an answer that it began, and its end", needsMosquitto, async () => {
    await using setup = await openTestSetup();
    const { asked, device } = setup;
    await device.client.publishAsync(REQUEST, question("hi", { stream: true }), {
      properties: { messageExpiryInterval: 1 },
    });
    const request = await asked.request();
    await request.reply({ text: "In" });
    await until("it has expired", () => Date.now() > (request.expiresAt ?? 0));
    await request.reply({ text: " part" });
    await request.reply({ text: "too late", error: new Failure("timeout", "x"), done: true });
    await until("all parts are there", () => device.messages.length === 3);
    assert.deepEqual(
      device.messages.map(({ payload }) => {
        const { text, seq, done } = decodePart(Buffer.from(payload)) ?? {};
        return [text, seq, done];
      }),
      [
        ["In", 0, undefined],
        [" part", 1, undefined],
        ["too late", 2, true],
      ],
    );
  });

  it("says so where there was no time at all, which mosquitto does not pass on", async () => {
    const answers: string[] = [];
    await using broker = await fakeBroker((received, socket) => {
      politeOn5(received, socket);
      // Message Expiry Interval (MQTT 5 section 3.3.2.3.3) 0.
      const properties = [2, 0, 0, 0, 0];
      if (received.type === 8) socket.write(publish(5, { topic: REQUEST, properties }));
      if (received.type === 3) answers.push(received.topic);
    });
    await using asked = openTestChannel(broker.url);
    const request = await asked.request();
    assert.ok(Math.abs((request.expiresAt ?? 0) - Date.now()) < 5_000);
    await request.reply({ text: "too late", error: new Failure("expired", "x"), done: true });
    await until("it is told", () => answers.includes(RESPONSE));
  });

  it("is understood by mosquitto_rr", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url, { onRequest: answering("ok") });
    await asked.ready();
    const output = await run(
      "mosquitto_rr",
      "-V",
      "5",
      "-p",
      `${broker.port}`,
      "-t",
      REQUEST,
      "-e",
      RESPONSE,
      "-m",
      question("hi"),
    );
    assert.equal(output.trim(), '{"text":"ok","seq":0,"done":true}');
  });

  it(
    "tells two requests apart by id, by correlation with payload, and not at all without",
    needsMosquitto,
    async () => {
      await using setup = await openTestSetup();
      const { asked, device } = setup;
      const send = (payload: string, correlationData?: Buffer) =>
        device.client.publishAsync(REQUEST, payload, {
          qos: 1,
          ...(correlationData && { properties: { correlationData } }),
        });
      await send(question("a", { id: "1" }));
      await send(question("other words", { id: "1" }));
      await send(question("a", { id: "2" }));
      await send(question("a"), Buffer.from([1]));
      await send(question("b"), Buffer.from([1]));
      await send(question("a"));
      await asked.request(5);
      const [one, same, two, first, second, bare] = asked.requests.map(({ key }) => key);
      assert.equal(one, same);
      assert.equal(new Set([one, two, first, second]).size, 4);
      assert.equal(bare, undefined);
      assert.equal(asked.requests[5]?.fingerprint, asked.requests[3]?.fingerprint);
      assert.equal(asked.requests[5]?.redelivered, false);
    },
  );
});

it("only a request at QoS 0 without a name is delivered once", needsMosquitto, async () => {
  await using setup = await openTestSetup({ settings: { qos: 1 } });
  const { asked, device } = setup;
  const ways = [
    { payload: question("a"), qos: 0 },
    { payload: question("a", { id: "1" }), qos: 0 },
    { payload: question("a"), qos: 1 },
  ] as const;
  for (const [index, { payload, qos }] of ways.entries()) {
    await device.client.publishAsync(REQUEST, payload, { qos });
    await asked.request(index);
  }
  assert.deepEqual(
    asked.requests.map(({ once }) => once),
    [true, undefined, undefined],
  );
});

describe("a channel on MQTT 3.1.1", () => {
  it("answers mosquitto_pub and mosquitto_sub at QoS 0", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url, { onRequest: answering("12", " %") });
    await asked.ready();
    const port = `${broker.port}`;
    await using heard = follow("mosquitto_sub", "-V", "311", "-p", port, "-t", RESPONSE);
    await until("mosquitto_sub has subscribed", () => broker.log().includes(`${RESPONSE} (QoS 0)`));
    await run("mosquitto_pub", "-V", "311", "-p", port, "-t", REQUEST, "-m", question("CPU?"));
    await until("two lines", () => heard.lines().length === 2);
    assert.deepEqual(heard.lines(), ['{"text":"12","seq":0}', '{"text":" %","seq":1,"done":true}']);
  });

  it("answers paho", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    await using asked = openTestChannel(broker.url, {
      settings: { protocol_version: 4 },
      onRequest: answering("ok"),
    });
    assert.equal((await asked.ready()).protocol, 4);
    const script = `
import paho.mqtt.client as mqtt
c = mqtt.Client("paho", protocol=mqtt.MQTTv311)
c.on_subscribe = lambda *a: c.publish("${REQUEST}", '{"text": "hi"}')
def heard(c, u, m):
    print(m.payload.decode())
    c.disconnect()
c.on_message = heard
c.connect("127.0.0.1", ${broker.port})
c.subscribe("${RESPONSE}")
c.loop_forever()
`;
    assert.equal(
      (await run("/usr/bin/python3", "-c", script)).trim(),
      '{"text":"ok","seq":0,"done":true}',
    );
  });
});

it(
  "says once that MQTT 3.1.1 does not tell whether a device was there for a push",
  needsMosquitto,
  async () => {
    await using broker = await startMosquitto();
    for (const protocol_version of [4, 5] as const) {
      await using asked = openTestChannel(broker.url, { settings: { protocol_version } });
      await asked.ready();
      for (const client of ["hall", "desk"]) {
        const to = { client, id: `message-${client}`, address: PUSH_ADDRESS };
        const sent = asked.channel.replyTo(to)?.({ text: "hi", done: true });
        if (protocol_version === 4) await sent;
        else await assert.rejects(sent ?? Promise.resolve(), { code: "no_subscriber" });
      }
      const warned = asked.log.lines.filter(({ message }) => message.includes("is away"));
      assert.equal(warned.length, protocol_version === 4 ? 1 : 0);
    }
  },
);
