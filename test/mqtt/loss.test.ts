import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { abortable } from "../../src/base/async.ts";
import { openTestChannel, openTestDevice } from "../support/channel.ts";
import { freePort, needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { fakeBroker, polite } from "../support/packets.ts";
import { until } from "../support/until.ts";

const REQUEST = "/picoclaw/edge/c1/request";
const RESPONSE = "/picoclaw/edge/c1/response";
/** Bun ends a test after 5 s unless told otherwise. */
const slow = { ...needsMosquitto, timeout: 30_000 };
const HI = '{"text":"hi"}';

function publishPacket(topic: string, payload: string): Buffer {
  const name = Buffer.from(topic);
  const body = Buffer.concat([Buffer.from([0, name.length]), name, Buffer.from(payload)]);
  return Buffer.concat([Buffer.from([0x30, body.length]), body]);
}

const quick = async (close: () => Promise<void>): Promise<void> => {
  const begin = performance.now();
  await close();
  assert.ok(performance.now() - begin < 8_000, "close took too long");
};

/** The pause between attempts to connect; it lasts until the test ends it. */
function manualPause() {
  const delays: number[] = [];
  let ended = Promise.withResolvers<void>();
  return {
    /** Milliseconds that were asked for. */
    delays,
    pause: (milliseconds: number, signal: AbortSignal): Promise<void> => {
      delays.push(milliseconds);
      return abortable(ended.promise, signal);
    },
    end: (): void => {
      ended.resolve();
      ended = Promise.withResolvers();
    },
  };
}

describe("the broker's loss", () => {
  it("is mended after the documented 5 s, under the same client id", slow, async () => {
    await using broker = await startMosquitto();
    const { pause, delays, end } = manualPause();
    await using asked = openTestChannel(broker.url, { settings: { qos: 1 }, pause });
    await asked.ready();
    await broker.kill();
    await until("noticed", () => asked.channel.problem() !== undefined, 1_000);
    assert.equal(asked.channel.problem()?.code, "unreachable");
    await broker.start();
    assert.deepEqual(delays, [5_000]);
    assert.equal(asked.channel.problem()?.code, "unreachable");
    end();
    await until("ready again", () => asked.channel.problem() === undefined, 3_000);
    assert.deepEqual(delays, [5_000]);
    const ids = [...broker.log().matchAll(/as (picoclaw-mqtt-edge-[0-9a-f]{8}) \(/g)].map(
      ([, id]) => id,
    );
    assert.equal(ids.length, 2);
    assert.equal(ids[0], ids[1]);
    await using device = await openTestDevice(broker.url, RESPONSE);
    await device.client.publishAsync(REQUEST, HI, { qos: 1 });
    await asked.request();
  });

  it("keeps the answers that are produced meanwhile, in order", slow, async () => {
    await using broker = await startMosquitto();
    for (const qos of [0, 1, 2] as const) {
      const { pause, end } = manualPause();
      await using asked = openTestChannel(broker.url, { settings: { qos }, pause });
      await asked.ready();
      await using device = await openTestDevice(broker.url, RESPONSE);
      await device.client.publishAsync(REQUEST, HI, { qos: 1 });
      const request = await asked.request();
      await request.reply({ text: "a" });
      await device.message(0);
      await broker.kill();
      await until("noticed", () => asked.channel.problem() !== undefined);
      const rest = (async () => {
        await request.reply({ text: "b" });
        await request.reply({ text: "c", done: true });
      })();
      await broker.start();
      // A device of QoS 0 hears nothing that passes before it is back.
      await until("the device is back", () => device.client.connected);
      end();
      await rest;
      await device.message(2);
      assert.deepEqual(device.texts(), [
        '{"text":"a","seq":0}',
        '{"text":"b","seq":1}',
        '{"text":"c","seq":2,"done":true}',
      ]);
    }
  });

  it("in the middle of a publish repeats it", slow, async () => {
    await using broker = await startMosquitto();
    const { pause, end } = manualPause();
    await using asked = openTestChannel(broker.url, { settings: { qos: 1 }, pause });
    await asked.ready();
    await using device = await openTestDevice(broker.url, RESPONSE);
    await device.client.publishAsync(REQUEST, HI, { qos: 1 });
    const request = await asked.request();
    await broker.kill("SIGSTOP");
    const said = request.reply({ text: "a", done: true });
    await new Promise((resolve) => setTimeout(resolve, 50));
    await broker.kill();
    await broker.start();
    await until("the device is back", () => device.client.connected);
    await until("noticed", () => asked.channel.problem() !== undefined);
    end();
    await said;
    assert.equal(String((await device.message()).payload), '{"text":"a","seq":0,"done":true}');
  });

  it("at the start is waited for", needsMosquitto, async () => {
    const broker = await startMosquitto();
    await broker.kill();
    await using asked = openTestChannel(broker.url, { reconnectMs: 200 });
    await until("said", () => asked.log.text().includes("again_in_s"));
    assert.match(asked.log.text(), /warn .*ECONNREFUSED/);
    assert.match(asked.log.text(), /check that a broker runs at this address/);
    assert.equal(asked.channel.problem()?.code, "unreachable");
    await broker.start();
    await asked.ready();
    await broker[Symbol.asyncDispose]();
  });

  it(
    "is noticed where the broker is frozen and no socket closes; close() does not wait for it, nor for a broker that is away or leaves SUBSCRIBE unanswered",
    slow,
    async () => {
      await using broker = await startMosquitto();
      await using noticing = openTestChannel(broker.url, {
        settings: { keep_alive: 1 },
        reconnectMs: 100,
        connectTimeoutMs: 500,
      });
      const frozen = openTestChannel(broker.url);
      await Promise.all([noticing.ready(), frozen.ready()]);
      await broker.kill("SIGSTOP");
      const connecting = openTestChannel(broker.url);
      const away = openTestChannel(`tcp://127.0.0.1:${await freePort()}`);
      let subscribing = false;
      await using mute = await fakeBroker((packet, socket) => {
        if (packet.type === 8) subscribing = true;
        else polite(packet, socket);
      });
      const waiting = openTestChannel(mute.url, { settings: { protocol_version: 4 } });
      await until("refused", () => away.log.text().includes("again_in_s"));
      await until("subscribing", () => subscribing);
      await Promise.all([
        until("noticed", () => noticing.channel.problem() !== undefined, 4_000),
        ...[frozen, connecting, away, waiting].map(({ channel }) => quick(() => channel.close())),
      ]);
      await broker.kill("SIGCONT");
      await until("mended", () => noticing.channel.problem() === undefined, 4_000);
      assert.equal(await waiting.channel.ended, undefined);
      await assert.rejects(waiting.ready());
    },
  );

  it("ends what waits in reply() when the channel is closed", needsMosquitto, async () => {
    await using broker = await startMosquitto();
    const asked = openTestChannel(broker.url);
    await asked.ready();
    await using device = await openTestDevice(broker.url, RESPONSE);
    await device.client.publishAsync(REQUEST, HI, { qos: 1 });
    const request = await asked.request();
    await broker.kill();
    await until("noticed", () => asked.channel.problem() !== undefined);
    const waiting = assert.rejects(request.reply({ text: "a", done: true }), {
      code: "unreachable",
    });
    await asked.channel.close();
    await waiting;
  });
});

describe("a broker that misbehaves", () => {
  it("with a malformed packet loses the connection, and gets another", async () => {
    await using broker = await fakeBroker((packet, socket, connection) => {
      polite(packet, socket);
      if (packet.type === 8 && connection === 1)
        socket.write(Buffer.from([0xf1, 0xff, 0xff, 0xff, 0xff, 0xff]));
    });
    await using asked = openTestChannel(broker.url, {
      settings: { protocol_version: 4 },
      reconnectMs: 50,
    });
    await until("a second connection", () => broker.connections() === 2, 3_000);
    await asked.ready();
  });

  it("with no CONNACK is given up after the connect timeout, and tried again", async () => {
    await using broker = await fakeBroker((packet, socket, connection) => {
      if (connection > 1) polite(packet, socket);
    });
    await using asked = openTestChannel(broker.url, {
      settings: { protocol_version: 4 },
      connectTimeoutMs: 100,
      reconnectMs: 50,
    });
    await asked.ready();
    assert.match(asked.log.text(), /no CONNACK within 0.1 s/);
  });

  it("with a topic that is no UTF-8 is not answered anywhere", async () => {
    await using broker = await fakeBroker((packet, socket) => {
      polite(packet, socket);
      if (packet.type !== 8) return;
      const bad = publishPacket("/picoclaw/edge/X/request", HI);
      bad[bad.indexOf("X")] = 0xff;
      socket.write(bad);
      socket.write(publishPacket(REQUEST, HI));
    });
    await using asked = openTestChannel(broker.url, { settings: { protocol_version: 4 } });
    assert.equal((await asked.request()).client, "c1");
    assert.equal(asked.requests.length, 1);
  });

  it(
    "is not mistaken for us: a throw in onRequest does not stop delivery, nor the acknowledgement",
    needsMosquitto,
    async () => {
      await using broker = await startMosquitto();
      for (const qos of [0, 1, 2] as const) {
        let calls = 0;
        await using asked = openTestChannel(broker.url, {
          settings: { qos },
          onRequest() {
            calls += 1;
            if (calls === 1) throw new Error("a fault of ours");
          },
        });
        await asked.ready();
        await using device = await openTestDevice(broker.url, RESPONSE);
        for (const text of ["one", "two"])
          await device.client.publishAsync(REQUEST, JSON.stringify({ text }), { qos });
        await asked.request(1);
        assert.match(asked.log.text(), /error a message could not be handled/);
        assert.equal(asked.channel.problem(), undefined);
      }
    },
  );
});
