import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openTestDevice } from "../support/channel.ts";
import { openTestClusterChannel } from "../support/cluster-channel.ts";
import { needsMosquitto, startMosquitto, type Mosquitto } from "../support/mosquitto.ts";
import { fakeBroker, politeOn5 } from "../support/packets.ts";
import { until } from "../support/until.ts";

const TOPIC = "/picoclaw/edge/c1/request";
const NEVER = new Promise<void>(() => {});

/** The client ids under which somebody connected, in order, without the devices'. */
function clientIds(broker: Mosquitto): readonly string[] {
  const found = broker.log().matchAll(/New client connected from \S+ as (picoclaw-mqtt-\S+)/g);
  return [...found].map(([, id = ""]) => id);
}

for (const protocol of [5, 4] as const) {
  const settings = { qos: 1, protocol_version: protocol } as const;

  describe(`a channel of several gateways, on MQTT ${protocol === 5 ? "5" : "3.1.1"}`, () => {
    it(
      "is heard by the holder of the lease alone, and answered by any",
      needsMosquitto,
      async () => {
        await using broker = await startMosquitto();
        await using a = openTestClusterChannel(broker.url, { settings });
        await using b = openTestClusterChannel(broker.url, { settings });
        await a.hear();
        b.lease.give();
        await b.channel.ready();
        await using device = await openTestDevice(broker.url, "/picoclaw/edge/c1/response");
        await device.client.publishAsync(TOPIC, '{"text":"hi","id":"r"}', { qos: 1 });
        const { client, address, id = "" } = await a.request();
        await b.channel.replyTo({ client, address, id })?.({ text: "from b", done: true });
        assert.deepEqual(JSON.parse(String((await device.message()).payload)), {
          text: "from b",
          id: "r",
          seq: 0,
          done: true,
        });
        await (await a.request()).reply({ text: "from a", done: true });
        await device.message(1);
        assert.equal(b.requests.length, 0);
      },
    );

    it("is ready when it is heard, here or elsewhere, or has ended", needsMosquitto, async () => {
      await using broker = await startMosquitto();
      await using a = openTestClusterChannel(broker.url, { settings });
      await using b = openTestClusterChannel(broker.url, { settings });
      const c = openTestClusterChannel(broker.url, { settings });
      const ready: string[] = [];
      void a.channel.ready().then(() => ready.push(`a, ${a.log.text().includes("as the intake")}`));
      void b.channel.ready().then(() => ready.push("b"));
      const closed = assert.rejects(c.channel.ready());
      for (const { lease } of [b, c]) await until("its voice is connected", () => lease.canHear());
      assert.deepEqual(ready, []);
      await a.hear();
      await until("the one that hears is ready", () => ready.length === 1);
      b.lease.give();
      await until("both are ready", () => ready.length === 2);
      assert.deepEqual(ready, ["a, true", "b"]);
      await c.channel.close();
      await closed;
    });

    it("uses one client id to hear, another one for each voice", needsMosquitto, async () => {
      await using broker = await startMosquitto();
      await using a = openTestClusterChannel(broker.url, { settings });
      await using b = openTestClusterChannel(broker.url, { settings });
      await using other = openTestClusterChannel(broker.url, { settings, name: "second" });
      await a.hear();
      a.lease.revoke();
      await b.hear();
      await other.hear();
      b.lease.revoke();
      await b.hear("ffffffff");
      const ids = clientIds(broker);
      const heard = ids.filter((id, index) => ids.indexOf(id) !== index);
      assert.equal(new Set(heard).size, 1, "one id is used twice");
      assert.equal(ids.length, 7);
      assert.equal(new Set(ids).size, 6);
      for (const id of ids) assert.match(id, /^picoclaw-mqtt-edge-[0-9a-f]{8}$/);
    });

    it(
      "is heard by the next holder, which gets what was not acknowledged",
      needsMosquitto,
      async () => {
        await using broker = await startMosquitto();
        await using a = openTestClusterChannel(broker.url, { settings, onRequest: () => NEVER });
        await using b = openTestClusterChannel(broker.url, { settings });
        await a.hear();
        await using device = await openTestDevice(broker.url, "/picoclaw/edge/status");
        void device.client.publishAsync(TOPIC, '{"text":"one"}', { qos: 1 });
        await a.request();
        // The old holder does not know yet: it was frozen, say.
        a.lease.renews = undefined;
        await b.hear();
        assert.equal((await b.request()).text, "one");
        assert.equal((await b.request()).redelivered, true);
        await until("it was thrown out", () => a.channel.problem() !== undefined);
        a.lease.revoke();
        assert.equal(a.channel.problem(), undefined);
        await device.client.publishAsync(TOPIC, '{"text":"two"}', { qos: 1 });
        assert.equal((await b.request(1)).text, "two");
        assert.equal(a.requests.length, 1);
      },
    );

    it("acknowledges nothing that is stored after the lease ran out", needsMosquitto, async () => {
      await using broker = await startMosquitto();
      const stored = Promise.withResolvers<void>();
      const onRequest = () => stored.promise;
      await using a = openTestClusterChannel(broker.url, { settings, onRequest });
      await using b = openTestClusterChannel(broker.url, { settings });
      b.lease.give();
      await b.channel.ready();
      await a.hear();
      const id = clientIds(broker).at(-1);
      await using device = await openTestDevice(broker.url, "/picoclaw/edge/status");
      await device.client.publishAsync(TOPIC, '{"text":"one"}', { qos: 1 });
      await a.request();
      a.lease.held = false;
      await device.client.publishAsync(TOPIC, '{"text":"two"}', { qos: 1 });
      stored.resolve();
      // By then the broker would have read an acknowledgement.
      for (let trip = 0; trip < 5; trip += 1) {
        await device.client.publishAsync("/elsewhere", "", { qos: 1 });
      }
      assert.doesNotMatch(broker.log(), new RegExp(`Received PUBACK from ${id}`));
      a.lease.revoke();
      await b.hear();
      assert.deepEqual([(await b.request()).text, (await b.request(1)).text], ["one", "two"]);
      assert.equal(a.requests.length, 1);
    });

    it("says offline when its last gateway stops, whichever heard", needsMosquitto, async () => {
      await using broker = await startMosquitto();
      let lives = 2;
      const isAlone = () => lives === 1;
      await using device = await openTestDevice(broker.url, "/picoclaw/edge/status");
      const a = openTestClusterChannel(broker.url, { settings, isAlone });
      const b = openTestClusterChannel(broker.url, { settings, isAlone });
      await a.hear();
      await device.message();
      b.lease.give();
      await b.channel.ready();
      await a.channel.handOver?.();
      assert.equal(a.lease.isClosed, true);
      await b.hear();
      await device.message(1);
      await a.channel.close();
      lives = 1;
      assert.deepEqual(device.texts(), ["online", "online"]);
      // It does not hear any more; another one that died may have.
      b.lease.revoke();
      await b.channel.close();
      await until("offline", () => device.texts().at(-1) === "offline");
    });

    it("answers while it hands over, and hands over at once", needsMosquitto, async () => {
      await using broker = await startMosquitto();
      await using a = openTestClusterChannel(broker.url, { settings });
      await using b = openTestClusterChannel(broker.url, { settings });
      await using device = await openTestDevice(broker.url, "/picoclaw/edge/c1/response");
      await a.hear();
      await device.client.publishAsync(TOPIC, '{"text":"one"}', { qos: 1 });
      const request = await a.request();
      await a.channel.handOver?.();
      assert.equal(a.lease.isClosed, true);
      await device.client.publishAsync(TOPIC, '{"text":"two"}', { qos: 1 });
      await b.hear();
      assert.equal((await b.request()).text, "two");
      await request.reply({ text: "late", done: true });
      assert.match(String((await device.message()).payload), /late/);
      assert.equal(b.requests.length, 1, "what was stored was acknowledged");
    });

    it("acknowledges what is being stored while it hands over", needsMosquitto, async () => {
      await using broker = await startMosquitto();
      const stored = Promise.withResolvers<void>();
      const onRequest = () => stored.promise;
      await using a = openTestClusterChannel(broker.url, { settings, onRequest });
      await using b = openTestClusterChannel(broker.url, { settings });
      await using device = await openTestDevice(broker.url, "/picoclaw/edge/status");
      await a.hear();
      await device.client.publishAsync(TOPIC, '{"text":"one"}', { qos: 1 });
      await a.request();
      const handedOver = a.channel.handOver?.();
      await device.client.publishAsync(TOPIC, '{"text":"two"}', { qos: 1 });
      stored.resolve();
      await handedOver;
      await b.hear();
      assert.equal((await b.request()).text, "two");
      assert.deepEqual([a.requests.length, b.requests.length], [1, 1]);
    });

    it(
      "waits for nothing at its end that came before it lost the lease",
      needsMosquitto,
      async () => {
        await using broker = await startMosquitto();
        await using device = await openTestDevice(broker.url, "/picoclaw/edge/status");
        const waits: number[] = [];
        // A machine under load takes its time, but not each time.
        for (let attempt = 0; attempt < 3; attempt += 1) {
          const a = openTestClusterChannel(broker.url, {
            settings,
            onRequest: () => new Promise(() => {}),
          });
          await a.hear();
          await device.client.publishAsync(TOPIC, '{"text":"one"}', { qos: 1 });
          await a.request();
          a.lease.revoke();
          const began = performance.now();
          await a.channel.close();
          waits.push(performance.now() - began);
        }
        assert.ok(Math.min(...waits) < 1_000, waits.join(" "));
      },
    );

    it("is heard until the end if no other gateway lives", needsMosquitto, async () => {
      await using broker = await startMosquitto();
      const a = openTestClusterChannel(broker.url, { settings, isAlone: () => true });
      await using device = await openTestDevice(broker.url, "/picoclaw/edge/status");
      await a.hear();
      await device.message();
      await a.channel.handOver?.();
      assert.equal(a.lease.isClosed, false);
      await device.client.publishAsync(TOPIC, '{"text":"one"}', { qos: 1 });
      await a.request();
      await a.channel.close();
      await device.message(1);
      assert.deepEqual(device.texts(), ["online", "offline"]);
      assert.equal(a.lease.isClosed, true);
    });

    it("says offline also if it is closed while it connects", needsMosquitto, async () => {
      await using broker = await startMosquitto();
      await using device = await openTestDevice(broker.url, "/picoclaw/edge/status");
      await device.client.publishAsync("/picoclaw/edge/status", "online", { retain: true });
      const a = openTestClusterChannel(broker.url, { settings, isAlone: () => true });
      await a.lease.grant();
      await a.channel.close();
      await until("offline", () => device.texts().at(-1) === "offline");
    });

    it("hears again after a stranger used its client id", needsMosquitto, async () => {
      await using broker = await startMosquitto();
      await using a = openTestClusterChannel(broker.url, { settings });
      await a.hear();
      const [, id = ""] = clientIds(broker);
      await using stranger = await openTestDevice(broker.url, "/picoclaw/edge/c1/response", {
        clientId: id,
        reconnectPeriod: 0,
      });
      await until("twice", () => a.log.text().split("connected as the intake").length === 3);
      assert.equal(stranger.client.connected, false);
    });

    it("leaves the lease to others when the broker cannot be reached", needsMosquitto, async () => {
      await using broker = await startMosquitto();
      await using a = openTestClusterChannel(broker.url, { settings, reconnectMs: 300 });
      await a.hear();
      await broker.kill();
      await until("it is given back", () => a.lease.givenBack.length === 1);
      assert.equal(a.lease.held, false);
      await broker.start();
      await a.hear();
      assert.equal(a.channel.problem(), undefined);
    });

    it(
      "notices a session that another gateway left and the broker lost",
      needsMosquitto,
      async () => {
        await using broker = await startMosquitto();
        await using a = openTestClusterChannel(broker.url, { settings, reconnectMs: 100 });
        await using b = openTestClusterChannel(broker.url, { settings, reconnectMs: 100 });
        await a.hear();
        a.lease.revoke();
        await b.hear(undefined, true);
        b.lease.revoke();
        assert.equal(b.channel.sessionsLost(), 0);
        await broker.kill();
        await broker.start();
        await until("both know", () => !!a.channel.problem() && !!b.channel.problem());
        await a.hear(undefined, true);
        assert.equal(a.channel.sessionsLost(), 1);
      },
    );

    it("hears and answers at the next address when one dies", needsMosquitto, async () => {
      await using first = await startMosquitto();
      await using second = await startMosquitto();
      const urls = [first.url, second.url];
      await using a = openTestClusterChannel(urls, { settings, reconnectMs: 100 });
      await a.hear();
      await first.kill();
      await until("both moved", () => clientIds(second).length === 2);
      await until("it hears", () => a.channel.problem() === undefined);
      await using device = await openTestDevice(second.url, "/picoclaw/edge/c1/response");
      await device.client.publishAsync(TOPIC, '{"text":"hi"}', { qos: 1 });
      await (await a.request()).reply({ text: "there", done: true });
      assert.match(String((await device.message()).payload), /there/);
      // A broker of its own is no cluster, and has no session of ours.
      assert.equal(a.channel.sessionsLost(), 1);
      assert.equal(a.lease.held, true);
    });

    it("looks at the lease before it dials again", needsMosquitto, async () => {
      await using broker = await startMosquitto();
      await using a = openTestClusterChannel(broker.url, { settings });
      await a.hear();
      a.lease.renews = false;
      const dialled = clientIds(broker).length;
      await using stranger = await openTestDevice(broker.url, "/picoclaw/edge/c1/response", {
        clientId: clientIds(broker)[1] ?? "",
      });
      await until("it is lost", () => !a.lease.held);
      assert.equal(stranger.client.connected, true);
      assert.equal(clientIds(broker).length, dialled + 1);
      assert.equal(a.channel.problem(), undefined);
    });
  });
}

describe("the status of a channel of several gateways", () => {
  for (const qos of [0, 1] as const) {
    it(
      `stays online while another takes over, at QoS ${qos} on MQTT 5`,
      needsMosquitto,
      async () => {
        await using broker = await startMosquitto();
        await using device = await openTestDevice(broker.url, "/picoclaw/edge/status");
        const settings = { qos, protocol_version: 5 } as const;
        await using a = openTestClusterChannel(broker.url, { settings });
        await using b = openTestClusterChannel(broker.url, { settings });
        await a.hear();
        await device.message();
        a.lease.revoke();
        await until("it was cut", () => broker.log().includes("closed its connection"));
        await b.hear();
        await device.message(1);
        // Without being cut before.
        b.lease.renews = undefined;
        await a.hear();
        await device.message(2);
        assert.deepEqual(device.texts(), ["online", "online", "online"]);
      },
    );
  }

  it("is offline after the will's delay if nobody takes over from one that stops", async () => {
    /** CONNECT packets with a will, and what ends their connections. */
    const seen: Buffer[] = [];
    const sockets = new Set<unknown>();
    await using broker = await fakeBroker((packet, socket) => {
      politeOn5(packet, socket);
      if (packet.type === 1 && packet.bytes.includes("offline")) sockets.add(socket);
      if (packet.type === 14) socket.end();
      if (sockets.has(socket) && [1, 14].includes(packet.type)) seen.push(packet.bytes);
    });
    const settings = { qos: 1, protocol_version: 5 } as const;
    await using a = openTestClusterChannel(broker.url, { settings });
    await a.hear();
    await a.channel.handOver?.();
    await until("it ends", () => seen.length === 2);
    // MQTT 5 sections 3.1.3.2.2 and 3.14.2.1.
    assert.ok(seen[0]?.includes(Buffer.from([0x18, 0, 0, 0, 10])), "Will Delay Interval");
    assert.equal(seen[1]?.[0], 0x04);
  });
});
