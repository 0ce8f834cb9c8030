import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { decodePart } from "../../src/mqtt/protocol/wire.ts";
import { openTestChannel, openTestDevice, reject, type TestDevice } from "../support/channel.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { fakeBroker, politeOn5 } from "../support/packets.ts";
import { until } from "../support/until.ts";

const REQUEST = "/picoclaw/edge/c1/request";
const slow = { ...needsMosquitto, timeout: 60_000 };
const ANYONE = ["listener {port} 127.0.0.1", "allow_anonymous true"];
/** With the last line mosquitto 2.0.11 refuses a publish and ends the connection as well. */
const WITH_ACL = [...ANYONE, "acl_file {folder}/acl", "max_queued_messages 0"];
const question = (text: string): string => JSON.stringify({ text, id: text });

/** The whole answer to a request, or the code of its error; "" until it is complete. At QoS 1 a part can come twice. */
function answerIn(device: TestDevice, id: string): string {
  const parts = [...new Set(device.texts())]
    .map((payload) => decodePart(Buffer.from(payload)))
    .filter((part) => part?.id === id);
  if (parts.at(-1)?.done !== true) return "";
  const error = parts.at(-1)?.error;
  return error === undefined ? parts.map((part) => part?.text).join("") : error.code;
}

describe("an answer that is too large for the broker", () => {
  const brokers: readonly [string, 4 | 5, 1 | 2, string][] = [
    ["acknowledges it in a way that is not allowed", 5, 1, "message_size_limit 1000"],
    ["acknowledges it in a way that is not allowed, QoS 2", 5, 2, "message_size_limit 1000"],
    ["only hangs up", 4, 1, "max_packet_size 1000"],
  ];
  for (const [does, protocol, qos, line] of brokers) {
    it(
      `is given up if the broker ${does}: an error takes its place, and the others arrive`,
      slow,
      async () => {
        await using broker = await startMosquitto({ lines: [...ANYONE, line] });
        const settings = { qos, protocol_version: protocol, session_expiry_secs: 60 };
        await using asked = openTestChannel(broker.url, {
          settings,
          clientId: "gateway",
          reconnectMs: 50,
        });
        await asked.ready();
        await using device = await openTestDevice(broker.url, "/picoclaw/edge/+/response");
        for (const text of ["large", "small", "larger"]) {
          await device.client.publishAsync(REQUEST, question(text), { qos: 1 });
        }
        const large = (await asked.request(0)).reply({ text: "x".repeat(5_000), done: true });
        const small = (await asked.request(1)).reply({ text: "y", done: true });
        await assert.rejects(
          large,
          (error) => error instanceof Failure && error.code === "refused",
        );
        await small;
        await until("one is answered", () => answerIn(device, "small") === "y");
        await until("the other gets an error", () => answerIn(device, "large") === "internal");
        assert.match(asked.log.text(), /warn .*cut smaller.*"bytes":50\d\d.*max_message_bytes/);
        // The next one is cut, and costs nobody the connection.
        const lost = asked.log.lines.filter(({ level }) => level === "warn").length;
        await (await asked.request(2)).reply({ text: "z".repeat(5_000), done: true });
        await until("it arrives", () => answerIn(device, "larger") === "z".repeat(5_000));
        const warnings = asked.log.lines.filter(({ level }) => level === "warn");
        assert.equal(warnings.length, lost, asked.log.text());
      },
    );
  }
});

describe("an answer whose connection is lost again and again", () => {
  it("is not given up if the connection is lost without it, too", { timeout: 60_000 }, async () => {
    let losses = 0;
    let restarts = 0;
    let answers = 0;
    await using broker = await fakeBroker((packet, socket) => {
      const isAnswer = packet.type === 3 && packet.topic.endsWith("/response");
      if (isAnswer && losses < 8) {
        losses += 1;
        socket.end();
        return;
      }
      politeOn5(packet, socket);
      if (isAnswer) answers += 1;
      // As a broker does that is restarted often: while the answer waits for the last attempt.
      if (packet.type !== 8 || losses !== 4 || restarts > 0) return;
      restarts += 1;
      setTimeout(() => socket.end(), 500);
    });
    await using asked = openTestChannel(broker.url, { settings: { qos: 1 }, reconnectMs: 50 });
    await asked.ready();
    const recipient = {
      client: "c1",
      address: JSON.stringify(["/picoclaw/edge/c1/response", null]),
    };
    await asked.channel.replyTo(recipient)?.({ text: "hi", done: true });
    assert.deepEqual([losses, restarts, answers], [8, 1, 1]);
  });
});

describe("a response topic that the broker does not let us publish to", () => {
  const acl = [
    "topic read #",
    "topic write /picoclaw/edge/status",
    "topic write /picoclaw/edge/info",
    "topic write /picoclaw/edge/+/request",
    "topic write /picoclaw/edge/+/response",
  ];
  for (const qos of [0, 1] as const) {
    it(
      `is used once: after that this client gets the default topic, QoS ${qos}`,
      slow,
      async () => {
        await using broker = await startMosquitto({
          lines: WITH_ACL,
          files: { acl: `${acl.join("\n")}\n` },
        });
        await using asked = openTestChannel(broker.url, {
          settings: { qos },
          reconnectMs: 50,
          onRequest: reject,
        });
        await asked.ready();
        await using device = await openTestDevice(broker.url, "/picoclaw/edge/c1/response");
        const ask = (id: string, responseTopic: string) =>
          device.client.publishAsync(REQUEST, question(id), {
            qos: 1,
            properties: { responseTopic },
          });
        await ask("first", "/picoclaw/edge/c1/mine");
        await ask("second", "/picoclaw/edge/c1/mine/2");
        const [first, second] = [await asked.request(0), await asked.request(1)];
        await first.reply({ text: "a", done: true });
        await second.reply({ text: "b", done: true });
        await until("both arrive", () => answerIn(device, "second") === "b");
        assert.equal(answerIn(device, "first"), "a");
        await asked.ready();
        const connections = () => broker.log().match(/as picoclaw-mqtt-edge/g)?.length;
        const before = connections();
        for (const id of ["third", "fourth"]) {
          await ask(id, `/picoclaw/edge/c1/${id}`);
          await until(`${id} is rejected`, () => answerIn(device, id) === "bad_request");
        }
        // The default topic is one that the client may ask for.
        await ask("fifth", "/picoclaw/edge/c1/response");
        assert.equal((await asked.request(4)).rejected, undefined);
        assert.equal(connections(), before);
        assert.equal(asked.log.text().match(/does not accept a response topic/g)?.length, 1);
      },
    );
  }
});

it("a broker that allows QoS 1 at most gets no more, and one warning", slow, async () => {
  await using broker = await startMosquitto({ lines: [...ANYONE, "max_qos 1"] });
  await using asked = openTestChannel(broker.url, { settings: { qos: 2 }, reconnectMs: 50 });
  assert.equal((await asked.channel.ready(AbortSignal.timeout(10_000))).maximumQos, 1);
  await using device = await openTestDevice(broker.url, "/picoclaw/edge/c1/response");
  await device.client.publishAsync(REQUEST, question("hi"), { qos: 1 });
  await (await asked.request()).reply({ text: "a", done: true });
  await until("it arrives", () => answerIn(device, "hi") === "a");
  assert.equal(device.messages[0]?.qos, 1);
  assert.equal(asked.channel.problem(), undefined);
  assert.equal(asked.log.text().match(/warn the broker allows QoS 1 at most/g)?.length, 1);
});

it(
  "a gateway that may not publish status and info serves, and tries once a process",
  slow,
  async () => {
    const acl = ["topic read #", "topic write /picoclaw/edge/+/request"];
    const response = "topic write /picoclaw/edge/+/response";
    await using broker = await startMosquitto({
      lines: WITH_ACL,
      files: { acl: `${[...acl, response].join("\n")}\n` },
    });
    await using asked = openTestChannel(broker.url, { settings: { qos: 1 }, reconnectMs: 50 });
    await asked.ready();
    await until("both are refused", () => /warn info could not/.test(asked.log.text()));
    await asked.ready();
    await using device = await openTestDevice(broker.url, "/picoclaw/edge/c1/response");
    const connections = () => broker.log().match(/as picoclaw-mqtt-edge/g)?.length;
    await until("it stays", async () => {
      const before = connections();
      await new Promise((resolve) => setTimeout(resolve, 500));
      return connections() === before;
    });
    await device.client.publishAsync(REQUEST, question("hi"), { qos: 1 });
    await (await asked.request()).reply({ text: "a", done: true });
    await until("it arrives", () => answerIn(device, "hi") === "a");
    assert.equal(asked.log.text().match(/could not be published/g)?.length, 2);
  },
);
