import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { attacked, hello, subscribe } from "../support/attacked-broker.ts";
import { digits, field, packet, publish } from "../support/hostile-broker.ts";
import { until } from "../support/until.ts";

/** The head of a packet of which nothing follows. */
function announced(first: number, length: number): Buffer {
  return Buffer.concat([Buffer.from([first]), digits(length)]);
}

function numbered(count: number, name: string): string[] {
  return Array.from({ length: count }, (_, index) => `${name}/${index}`);
}

describe("the built-in broker cuts a client that", () => {
  const misdeeds: readonly [string, Buffer][] = [
    ["announces a message of 256 MB", announced(0x30, 2 ** 28 - 1)],
    ["announces a list of filters of 1 MB", announced(0x82, 2 ** 20)],
    ["announces a length that never ends", Buffer.from([0x30, 255, 255, 255, 255, 255])],
    ["enters twice", hello("again")],
    ["plays the server", packet(0x90, [0, 1, 0])],
    ["sends a message of QoS 3", packet(0x36, [0, 1, 0x61, 0, 1])],
    ["publishes to a topic of 40 levels", publish(4, { topic: "/".repeat(40) })],
    ["publishes to a filter", publish(4, { topic: "a/#" })],
    ["speaks for the broker itself", publish(4, { topic: "$SYS/broker/heartbeat" })],
  ];
  for (const [name, bytes] of misdeeds) {
    it(name, async () => {
      await using broker = await attacked();
      const attacker = await broker.rawEntered("attacker");
      attacker.socket.write(bytes);
      await until("it is cut", () => attacker.isCut);
      await broker.stillServes();
    });
  }

  it("publishes more than it may, and says so, ever less often", async () => {
    await using broker = await attacked();
    for (let times = 0; times < 6; times += 1) {
      const device = await broker.rawEntered("device");
      device.socket.write(announced(0x32, 2 ** 21));
      await until("it is cut", () => device.isCut);
    }
    const lines = broker.log.lines.filter(({ message }) => message.includes("disconnected"));
    assert.deepEqual(
      lines.map(({ fields }) => fields["times"]),
      [1, 2, 3, 4],
    );
    assert.match(String(lines[0]?.fields["why"]), /2097157 bytes; the limit is 1048576/);
  });

  it("begins with a CONNECT of 60,000 bytes, will and all", async () => {
    await using broker = await attacked();
    const attacker = broker.raw();
    const will = [field("t"), field(Buffer.alloc(60_000, "x"))];
    attacker.socket.write(hello("attacker", { flags: 6, rest: will }));
    await until("it is cut", () => attacker.isCut);
    assert.equal(attacker.got.length, 0);
    await broker.stillServes();
  });

  it("says nothing, or drips its CONNECT", async () => {
    await using broker = await attacked({ connectMs: 200 });
    const silent = broker.raw();
    const dripping = broker.raw();
    dripping.socket.write(hello("attacker").subarray(0, 8));
    const timer = setInterval(() => dripping.socket.write("x"), 20);
    await until("both are cut", () => silent.isCut && dripping.isCut);
    clearInterval(timer);
  });

  it("leaves message after message of QoS 2 unreleased", async () => {
    await using broker = await attacked({ heldBytes: 10_000 });
    const attacker = await broker.rawEntered("attacker");
    for (let id = 1; id <= 300; id += 1) {
      attacker.socket.write(publish(4, { topic: "t", qos: 2, id }));
    }
    await until("it is cut", () => attacker.isCut);
    await broker.stillServes();
  });

  it("does not read what it asked for, and the others do not wait for it", async () => {
    await using broker = await attacked({ unreadBytes: 262_144, unreadMs: 500 });
    const will = [field("gone"), field("x")];
    const deaf = await broker.rawEntered("deaf", { flags: 6, rest: will });
    deaf.socket.write(subscribe(1, ["flood"]));
    await until("SUBACK", () => deaf.got.length >= 5);
    deaf.socket.pause();
    const reader = await broker.enter();
    await reader.subscribeAsync(["flood", "gone"]);
    let read = 0;
    let isGone = false;
    reader.on("message", (topic) => {
      if (topic === "flood") read += 1;
      else isGone = true;
    });
    const sender = await broker.enter();
    const payload = Buffer.alloc(65_536);
    // At most three of them are unread: four fill the bound of a client that reads.
    for (let sent = 1; sent <= 320; sent += 1) {
      await sender.publishAsync("flood", payload);
      if (sent % 3 === 0) await until("the other has them", () => read === sent);
    }
    await until("the other has all", () => read === 320);
    await until("it is told", () => /does not read/.test(broker.log.text()));
    await until("it is cut", () => isGone);
    deaf.socket.resume();
    await until("the rest of what was sent", () => deaf.isCut);
    assert.ok(deaf.got.length < 320 * payload.length);
  });
});

describe("the built-in broker's memory", () => {
  it("is not for many packets that are never whole: the largest holder is cut", async () => {
    await using broker = await attacked({ heldBytes: 1_000_000 });
    const first = await broker.rawEntered("a");
    const second = await broker.rawEntered("b");
    const begun = Buffer.concat([Buffer.from([0x30]), digits(900_000)]);
    first.socket.write(Buffer.concat([begun, Buffer.alloc(400_000)]));
    await broker.stillServes();
    second.socket.write(Buffer.concat([begun, Buffer.alloc(800_000)]));
    await until("the second is cut", () => second.isCut);
    assert.ok(!first.isCut);
    await broker.stillServes();
  });

  it("is not for client ids of 65,000 bytes", async () => {
    await using broker = await attacked();
    for (const length of [257, 10_000, 65_000]) {
      const attacker = broker.raw();
      attacker.socket.write(hello("x".repeat(length)));
      await until("it is cut", () => attacker.isCut);
      const [, , , code] = attacker.got;
      assert.ok(code === undefined || code === 2);
    }
    await broker.stillServes();
  });

  for (const clean of [true, false]) {
    it(`is not for filter after filter: the hundred-and-first is refused, ${clean ? "clean" : "kept"}`, async () => {
      await using broker = await attacked();
      const id = { clientId: "many", clean };
      const client = await broker.enter(id);
      const granted = await client.subscribeAsync(numbered(150, "own"), { qos: 1 }).catch(() => []);
      const again = await client.subscribeAsync("more", { qos: 1 }).catch(() => []);
      const given = [...granted, ...again].filter(({ qos }) => qos < 128).map(({ topic }) => topic);
      const heard: string[] = [];
      client.on("message", (topic) => heard.push(topic));
      for (const topic of ["more", "own/149", "own/100", "own/99", "own/0"]) {
        await client.publishAsync(topic, "x", { qos: 1 });
      }
      await until("those that were granted", () => heard.length >= 2);
      assert.deepEqual(heard, ["own/99", "own/0"]);
      assert.ok(given.length <= 100);
      await client.unsubscribeAsync("own/0");
      const later = await client.subscribeAsync("later");
      assert.equal(later[0]?.qos, 0);
      assert.match(broker.log.text(), /subscriptions/);
    });
  }

  it("is not for thousands of filters in packets without end", async () => {
    await using broker = await attacked();
    const attacker = await broker.rawEntered("attacker", { flags: 0 });
    for (let index = 0; index < 40; index += 1) {
      attacker.socket.write(subscribe(index + 1, numbered(1_500, `${index}`)));
    }
    await broker.stillServes();
    await until("all are answered", () => attacker.got.length >= 40 * 1_504);
    const granted = [...attacker.got].filter((byte) => byte === 0x80).length;
    assert.ok(granted >= 40 * 1_500 - 100);
  });

  it("is not for filters of 10,000 bytes, nor of all clients together", async () => {
    await using broker = await attacked({ filtersOfAll: 150 });
    const first = await broker.enter();
    await assert.rejects(first.subscribeAsync("x".repeat(10_000)));
    await first.subscribeAsync(numbered(100, "a"));
    const second = await broker.enter();
    await assert.rejects(second.subscribeAsync(numbered(100, "b")));
    await first.endAsync();
    await until("there is room again", async () => {
      const third = await broker.enter();
      return third.subscribeAsync(numbered(60, "c")).then(
        () => true,
        () => false,
      );
    });
  });

  it("is not for retained messages under topic after topic", async () => {
    await using broker = await attacked({ retained: 10, retainedBytes: 10_000 });
    const client = await broker.enter();
    for (const topic of numbered(20, "kept")) {
      await client.publishAsync(topic, "x", { retain: true, qos: 1 });
    }
    await client.publishAsync("kept/0", Buffer.alloc(20_000), { retain: true, qos: 1 });
    await client.publishAsync("kept/1", "", { retain: true, qos: 1 });
    await client.publishAsync("kept/new", "y", { retain: true, qos: 1 });
    const reader = await broker.enter();
    const heard: string[] = [];
    reader.on("message", (topic) => heard.push(topic));
    await reader.subscribeAsync("kept/#");
    await until("all that is kept", () => heard.includes("kept/new"));
    assert.deepEqual(heard, [...numbered(10, "kept").slice(2), "kept/new"]);
    assert.match(broker.log.text(), /retained messages/);
  });

  it("is not for sessions of clients that are away: the first that left is forgotten", async () => {
    await using broker = await attacked({ sessions: 3 });
    const ids = numbered(5, "away");
    for (const clientId of ids) {
      const client = await broker.enter({ clientId, clean: false });
      await client.subscribeAsync("news", { qos: 1 });
      await client.endAsync();
    }
    const known: boolean[] = [];
    for (const id of ids) known.push((await broker.rawEntered(id, { flags: 0 })).isKnown);
    assert.deepEqual(known, [false, false, true, true, true]);
    assert.match(broker.log.text(), /sessions/);
  });

  it("is not for a queue without end, and what is in it comes", async () => {
    await using broker = await attacked({ queued: 10 });
    const id = { clientId: "sleeper", clean: false };
    const sleeper = await broker.enter(id);
    await sleeper.subscribeAsync("news", { qos: 1 });
    await sleeper.endAsync();
    const sender = await broker.enter();
    for (let index = 0; index < 50; index += 1) {
      await sender.publishAsync("news", `${index}`, { qos: 1 });
    }
    const back = await broker.rawEntered("sleeper", { flags: 0 });
    await sender.publishAsync("news", "last", { qos: 1 });
    await until("the last", () => back.got.includes("last"));
    const came = back.got.toString("latin1").match(/news..(\d|last)/gs) ?? [];
    assert.deepEqual(
      came.map((one) => one.slice(6)),
      [...Array.from({ length: 10 }, (_, index) => `${index}`), "last"],
    );
    assert.ok(!back.isCut);
    assert.match(broker.log.text(), /wait for a client/);
  });

  it("keeps nothing of a client that acknowledges what it never got", async () => {
    await using broker = await attacked();
    const attacker = await broker.rawEntered("attacker", { flags: 0 });
    for (let id = 1; id < 1_000; id += 1) {
      attacker.socket.write(packet(0x40, [id >> 8, id & 255]));
      attacker.socket.write(packet(0x62, [id >> 8, id & 255]));
    }
    await until("PUBCOMPs", () => attacker.got.length >= 999 * 4);
    await broker.stillServes();
  });
});

it("the built-in broker takes all of a burst before a client hangs up", async () => {
  await using broker = await attacked();
  const reader = await broker.enter();
  await reader.subscribeAsync("burst");
  let heard = 0;
  reader.on("message", () => {
    heard += 1;
  });
  const sender = await broker.rawEntered("sender");
  const burst = Array.from({ length: 2_000 }, () => publish(4, { topic: "burst", payload: "x" }));
  sender.socket.end(Buffer.concat(burst));
  await until("all of it", () => heard === 2_000);
});
