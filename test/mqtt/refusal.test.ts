import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Secret } from "../../src/base/secret.ts";
import { answering, openTestChannel, openTestDevice, run } from "../support/channel.ts";
import { needsMosquitto, startMosquitto, type Mosquitto, withAcl } from "../support/mosquitto.ts";
import { fakeBroker, polite, politeOn5 } from "../support/packets.ts";
import { until } from "../support/until.ts";

const REQUEST = "/picoclaw/edge/c1/request";
const RESPONSE = "/picoclaw/edge/c1/response";
const HI = '{"text":"hi"}';

/** A mosquitto that knows the user `device` with the password `s3cret`, and no other. */
async function withPasswords(): Promise<Mosquitto> {
  const broker = await startMosquitto({
    lines: [
      "listener {port} 127.0.0.1",
      "allow_anonymous false",
      "password_file {folder}/passwords",
    ],
    files: { passwords: "" },
  });
  await run("mosquitto_passwd", "-b", `${broker.folder}/passwords`, "device", "s3cret");
  await broker.kill();
  await broker.start();
  return broker;
}

function connects(broker: Mosquitto): number {
  return broker.log().split("New client connected").length - 1;
}

/** An MQTT 5 broker that ends its first connection with this reason code, once all is said. */
const ending = (code: number) =>
  fakeBroker((packet, socket, connection) => {
    politeOn5(packet, socket);
    if (packet.type === 3 && packet.topic.endsWith("/info") && connection === 1) {
      socket.end(Buffer.from([0xe0, 2, code, 0]));
    }
  });

describe("refused credentials", () => {
  for (const protocol_version of [5, 4, "auto"] as const) {
    it(`end the channel and are named, on ${protocol_version}`, needsMosquitto, async () => {
      await using broker = await withPasswords();
      const credentials = { username: new Secret("device"), password: new Secret("wrong") };
      await using asked = openTestChannel(broker.url, {
        settings: { protocol_version, ...credentials },
        reconnectMs: 20,
      });
      await assert.rejects(asked.ready(), {
        code: "refused",
        message: /not authorized|bad user name or password/,
      });
      const failure = await asked.channel.ended;
      assert.match(failure?.remedy ?? "", /password/);
      assert.equal(asked.channel.problem(), failure);
      assert.ok(!`${failure?.message}${failure?.why}${asked.log.text()}`.includes("wrong"));
    });
  }

  it("are not the right ones, which let in", needsMosquitto, async () => {
    await using broker = await withPasswords();
    const credentials = { username: new Secret("device"), password: new Secret("s3cret") };
    await using asked = openTestChannel(broker.url, { settings: credentials });
    await asked.ready();
  });
});

describe("refused rights", () => {
  for (const protocol_version of [5, 4] as const) {
    it(`to subscribe end the channel and are not tried again, on ${protocol_version}`, async () => {
      await using broker = await fakeBroker((packet, socket) => {
        if (protocol_version === 5) politeOn5(packet, socket, 0x87);
        else if (packet.type !== 8) polite(packet, socket);
        else socket.write(Buffer.from([0x90, 3, packet.id >> 8, packet.id & 255, 0x80]));
      });
      await using asked = openTestChannel(broker.url, {
        settings: { protocol_version },
        reconnectMs: 20,
      });
      await assert.rejects(asked.ready(), {
        code: "refused",
        message: /subscription to \/picoclaw\/edge\/\+\/request/,
      });
      assert.ok((await asked.channel.ended)?.remedy);
      assert.equal(broker.connections(), 1);
    });
  }

  it(
    "to answer reject reply() on MQTT 5, without another try and without harm to the rest",
    needsMosquitto,
    async () => {
      await using broker = await startMosquitto(
        withAcl(
          "topic readwrite /picoclaw/edge/+/request",
          "topic read /picoclaw/edge/+/response",
          "topic write /picoclaw/edge/c2/response",
        ),
      );
      await using asked = openTestChannel(broker.url, { settings: { qos: 1 } });
      await asked.ready();
      await until("it says so", () => asked.log.text().includes("status could not be published"));
      assert.match(asked.log.text(), /status could not .*"topic":"[^"]*\/status".*picoclaw acl/);
      await using device = await openTestDevice(broker.url, "/picoclaw/edge/+/response");
      await device.client.publishAsync(REQUEST, HI, { qos: 1 });
      const refused = await asked.request(0);
      await assert.rejects(refused.reply({ text: "a", done: true }), {
        code: "refused",
        message: /not authorized/,
      });
      await device.client.publishAsync("/picoclaw/edge/c2/request", HI, { qos: 1 });
      await (await asked.request(1)).reply({ text: "b", done: true });
      assert.equal((await device.message()).topic, "/picoclaw/edge/c2/response");
      const denied = broker.log().match(/Denied PUBLISH .*c1\/response/g) ?? [];
      assert.equal(denied.length, 1);
    },
  );
});

describe("a broker's word at the end of a connection", () => {
  it("that the client id was taken over ends the channel loudly, instead of a fight for it", async () => {
    await using broker = await ending(0x8e);
    let conflicts = 0;
    const onConflict = (): void => void (conflicts += 1);
    await using asked = openTestChannel(broker.url, { reconnectMs: 20, onConflict });
    const failure = await asked.channel.ended;
    assert.equal(conflicts, 1);
    assert.equal(failure?.code, "refused");
    assert.match(failure.message, /taken over by another program with the same client id/);
    assert.match(failure.remedy ?? "", /client_id/);
    assert.equal(broker.connections(), 1);
  });

  it("that it shuts down, is busy or has moved, is tried again later", async () => {
    for (const code of [0x8b, 0x89, 0x98, 0x9c, 0x9d]) {
      await using broker = await ending(code);
      await using asked = openTestChannel(broker.url, { reconnectMs: 20 });
      await until("a second connection", () => broker.connections() === 2);
      await asked.ready();
      assert.match(
        asked.log.text(),
        /server (shutting down|busy|moved)|administrative action|another server/,
      );
      assert.equal(asked.channel.problem(), undefined);
    }
  });

  it("that it is unavailable for now does not stop the client, on either version", async () => {
    for (const protocol_version of [5, 4] as const) {
      await using broker = await fakeBroker((packet, socket, connection) => {
        if (packet.type === 1 && connection < 3) {
          socket.end(Buffer.from(protocol_version === 5 ? [0x20, 3, 0, 0x88, 0] : [0x20, 2, 0, 3]));
        } else if (protocol_version === 5) politeOn5(packet, socket);
        else polite(packet, socket);
      });
      await using asked = openTestChannel(broker.url, {
        settings: { protocol_version },
        reconnectMs: 20,
      });
      await asked.ready();
      assert.equal(broker.connections(), 3);
    }
  });
});

describe("a broker's bounds", () => {
  it(
    "on messages under way are kept: 200 answers through a receive maximum of 3",
    needsMosquitto,
    async () => {
      await using broker = await startMosquitto({
        lines: [
          "listener {port} 127.0.0.1",
          "allow_anonymous true",
          "max_inflight_messages 3",
          "max_queued_messages 1000",
        ],
      });
      await using asked = openTestChannel(broker.url, { settings: { qos: 2 } });
      await asked.ready();
      await using device = await openTestDevice(broker.url, "/picoclaw/edge/+/response");
      const count = 200;
      for (let index = 0; index < count; index += 1) {
        await device.client.publishAsync(`/picoclaw/edge/c${index}/request`, HI, { qos: 1 });
      }
      await asked.request(count - 1);
      await Promise.all(asked.requests.map((request) => request.reply({ text: "ok", done: true })));
      await device.message(count - 1);
      assert.ok(!broker.log().includes("receive maximum"));
      assert.equal(connects(broker), 2);
      // Two lines a message: what is between PUBLISH and PUBCOMP never exceeds the bound.
      let underWay = 0;
      for (const line of broker.log().split("\n")) {
        if (/Received PUBLISH from picoclaw-/.test(line)) underWay += 1;
        if (/Sending PUB(COMP|ACK) to picoclaw-/.test(line)) underWay -= 1;
        assert.ok(underWay <= 3, `${underWay} under way`);
      }
    },
  );

  it("on a packet's size cut the answer to fit", needsMosquitto, async () => {
    await using broker = await startMosquitto({
      lines: ["listener {port} 127.0.0.1", "allow_anonymous true", "max_packet_size 300"],
    });
    const text = "pi\u{1F600}".repeat(200);
    await using asked = openTestChannel(broker.url, { onRequest: answering(text) });
    await asked.ready();
    await using device = await openTestDevice(broker.url, RESPONSE);
    await device.client.publishAsync(REQUEST, HI, { qos: 1 });
    await until("the last part", () => device.texts().at(-1)?.includes("done") === true);
    const parts = device.texts().map((payload): { text: string } => JSON.parse(payload));
    assert.equal(parts.map((part) => part.text).join(""), text);
  });
});
