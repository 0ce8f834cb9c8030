import assert from "node:assert/strict";
import { PassThrough, Writable } from "node:stream";
import { describe, it } from "node:test";
import {
  array,
  assert as check,
  constantFrom,
  integer,
  nat,
  oneof,
  property,
  record,
} from "fast-check";
import { Framer } from "../../src/mqtt/limiter/framing.ts";
import { limitIncoming, ProtocolFault } from "../../src/mqtt/limiter/packet-limiter.ts";
import type { PacketRules } from "../../src/mqtt/limiter/packet-rules.ts";
import { digits, packet, publish } from "../support/hostile-broker.ts";
import { runs } from "../support/runs.ts";
import { until } from "../support/until.ts";

const LIMIT = 1000;
const ON_5: PacketRules = { sender: "server", protocol: 5, maximumPacketBytes: LIMIT };
const ON_4: PacketRules = { ...ON_5, protocol: 4 };
const CONNACK = { 4: packet(0x20, [0, 0]), 5: packet(0x20, [0, 0, 0]) };

/** What is handed on of these bytes when they come in pieces of such sizes, and the fault, if any. */
function through(rules: PacketRules, bytes: Buffer, sizes: readonly number[] = []) {
  const frames = new Framer(rules);
  const handedOn: Buffer[] = [];
  let at = 0;
  for (const size of [...sizes, bytes.length]) {
    const taken = frames.take(bytes.subarray(at, at + size));
    handedOn.push(...taken.pieces);
    if (taken.fault !== undefined) return { fault: taken.fault, bytes: Buffer.concat(handedOn) };
    at = Math.min(at + size, bytes.length);
  }
  return { bytes: Buffer.concat(handedOn), open: frames.open() };
}

/** What a reader makes of the one PUBLISH of MQTT 5 that these bytes are. */
function publishOf(bytes: Buffer) {
  const number = (at: number): { value: number; next: number } => {
    let value = 0;
    for (let index = 0; ; index += 1) {
      const digit = bytes[at + index] ?? 0;
      value += (digit & 127) * 128 ** index;
      if (digit < 128) return { value, next: at + index + 1 };
    }
  };
  const { value: length, next: body } = number(1);
  assert.equal(body + length, bytes.length, "it is as long as it says");
  const topicEnd = body + 2 + bytes.readUInt16BE(body);
  const hasId = ((bytes[0] ?? 0) & 0b0110) > 0;
  const idEnd = topicEnd + (hasId ? 2 : 0);
  const { value: propertyBytes, next: begin } = number(idEnd);
  assert.ok(begin + propertyBytes <= bytes.length, "its properties are whole");
  return {
    topic: bytes.toString("utf8", body + 2, topicEnd),
    id: hasId ? bytes.readUInt16BE(topicEnd) : 0,
    properties: bytes.subarray(begin, begin + propertyBytes),
    payload: bytes.subarray(begin + propertyBytes),
  };
}

const payload = (length: number): string => "x".repeat(length);

describe("the frames of a stream", () => {
  it("are handed on byte for byte, wherever the network cuts them", () => {
    const one = oneof(
      nat(LIMIT - 20).map((length) => publish(5, { topic: "a/b", payload: payload(length) })),
      constantFrom(packet(0x40, [0, 1]), Buffer.from([0xd0, 0]), packet(0x62, [0, 1])),
    );
    const sizes = array(integer({ min: 1, max: 300 }), { maxLength: 30 });
    check(
      property(array(one, { maxLength: 200 }), sizes, (packets, cuts) => {
        const bytes = Buffer.concat([CONNACK[5], ...packets]);
        const { fault, bytes: handedOn, open } = through(ON_5, bytes, cuts);
        assert.equal(fault, undefined);
        assert.ok(handedOn.equals(bytes));
        assert.equal(open, undefined);
      }),
    );
  });

  it("are not copied", () => {
    const bytes = Buffer.concat([CONNACK[5], publish(5, { topic: "t" })]);
    assert.equal(new Framer(ON_5).take(bytes).pieces[0], bytes);
  });

  it("come in pieces that a reader can take in one after the other", () => {
    const many = Buffer.concat(
      [CONNACK[5], ...Array.from({ length: 1000 }, () => [0xd0, 0])].map((some) =>
        Buffer.from(some),
      ),
    );
    const { pieces, cost } = new Framer(ON_5).take(many);
    assert.ok(Buffer.concat(pieces).equals(many));
    assert.ok(pieces.length >= 1000 / 64 && Math.max(...pieces.map(({ length }) => length)) <= 140);
    assert.ok(cost >= 250);
  });

  it("over the limit are a fault on MQTT 5, and what came before is handed on", () => {
    const size = LIMIT - 3 - 4;
    const fits = publish(5, { topic: "a", payload: payload(size) });
    assert.equal(fits.length, LIMIT);
    const bytes = Buffer.concat([
      CONNACK[5],
      fits,
      publish(5, { topic: "a", payload: payload(size + 1) }),
    ]);
    const { fault, bytes: handedOn } = through(ON_5, bytes);
    assert.equal(fault, "a packet of 1001 bytes; the limit is 1000");
    assert.equal(handedOn.length, 5 + LIMIT);
  });

  it("over the limit are cut short on 3.1.1, so that a device cannot have the connection cut", () => {
    const rules = { ...ON_4, truncateOversizedPublish: true };
    const large = publish(4, { topic: "a", payload: payload(5000), qos: 1, id: 7 });
    const bytes = Buffer.concat([CONNACK[4], large, packet(0x40, [0, 9])]);
    for (const size of [1, 2, 3, 7, 500, 997, 5000, 6000]) {
      const cuts = Array.from({ length: Math.ceil(bytes.length / size) }, () => size);
      const { fault, bytes: handedOn } = through(rules, bytes, cuts);
      assert.equal(fault, undefined);
      const kept = handedOn.subarray(4, -4);
      assert.ok(kept.length <= LIMIT && kept.length > LIMIT - 5, String(kept.length));
      assert.ok(
        kept.subarray(3, 8).equals(large.subarray(3, 8)),
        "topic and id are those it came with",
      );
      assert.deepEqual([...handedOn.subarray(-4)], [0x40, 2, 0, 9]);
    }
    const suback = packet(0x90, [0, 1], Buffer.alloc(2000));
    assert.match(through(rules, Buffer.concat([CONNACK[4], suback])).fault ?? "", /2005 bytes/);
  });

  it("over the limit are cut short on MQTT 5 behind whole properties, or lose them", () => {
    const rules = { ...ON_5, truncateOversizedPublish: true };
    const oversized = record({
      topicBytes: integer({ min: 1, max: 900 }),
      propertyBytes: oneof(nat(300), integer({ min: 80, max: 3000 })),
      payloadBytes: nat(3000),
      qos: nat(2),
    });
    const sizes = array(oneof(integer({ min: 1, max: 3 }), nat(900)), { maxLength: 60 });
    check(
      property(oversized, sizes, ({ topicBytes, propertyBytes, payloadBytes, qos }, cuts) => {
        const properties = Buffer.alloc(propertyBytes, "p");
        const topic = payload(topicBytes);
        const sent = publish(5, {
          topic,
          qos,
          id: 258,
          properties,
          payload: payload(payloadBytes),
        });
        const puback = packet(0x40, [0, 9]);
        const { fault, bytes, open } = through(
          rules,
          Buffer.concat([CONNACK[5], sent, puback]),
          cuts,
        );
        assert.equal(fault, undefined);
        assert.equal(open, undefined);
        assert.ok(bytes.subarray(-4).equals(puback));
        const kept = bytes.subarray(5, -4);
        if (sent.length <= LIMIT) return assert.ok(kept.equals(sent));
        const got = publishOf(kept);
        const ids = qos > 0 ? 2 : 0;
        const head = 2 + topicBytes + ids + digits(propertyBytes).length + propertyBytes;
        assert.deepEqual([got.topic, got.id], [topic, qos > 0 ? 258 : 0]);
        // With its properties the payload is still at least half a packet, and too large.
        if (head <= (LIMIT - 5) / 2) assert.ok(got.properties.equals(properties));
        else assert.equal(got.properties.length, 0);
        assert.ok(kept.length <= LIMIT);
        const left = Math.min(LIMIT, sent.length) - topicBytes - 20;
        assert.ok(
          got.properties.length + got.payload.length >= left,
          "as much as there is room for",
        );
      }),
      { numRuns: runs(1000) },
    );
  });

  it("over the limit survive properties whose length is nonsense", () => {
    const rules = { ...ON_5, truncateOversizedPublish: true };
    for (const nonsense of [
      [255, 255, 255, 255],
      [255, 255, 255, 127],
      [128, 128, 128, 0],
    ]) {
      const sent = packet(0x32, [0, 1, 97, 0, 7], nonsense, Buffer.alloc(3000));
      const { fault, bytes } = through(rules, Buffer.concat([CONNACK[5], sent]));
      assert.equal(fault, undefined);
      const got = publishOf(bytes.subarray(5));
      assert.deepEqual([got.topic, got.id, got.properties.length], ["a", 7, 0]);
    }
    for (const topic of [Buffer.alloc(1500), Buffer.alloc(LIMIT - 6)]) {
      const sent = publish(5, { topic, payload: payload(3000) });
      assert.match(through(rules, Buffer.concat([CONNACK[5], sent])).fault ?? "", /topic has/);
    }
    const endless = packet(0x30, [255, 255], Buffer.alloc(3000));
    assert.match(
      through(rules, Buffer.concat([CONNACK[5], endless])).fault ?? "",
      /within its head/,
    );
  });

  it("are not whole, nor acknowledged, before all of them has come", () => {
    const frames = new Framer({ ...ON_4, truncateOversizedPublish: true });
    const large = publish(4, { topic: "a", payload: payload(5000), qos: 1 });
    const early = frames.take(Buffer.concat([CONNACK[4], large.subarray(0, -1)]));
    const rest = frames.take(large.subarray(-1));
    assert.equal(frames.open(), undefined);
    assert.equal(
      Buffer.concat(early.pieces).length + Buffer.concat(rest.pieces).length,
      4 + 3 + LIMIT - 5,
    );
    assert.equal(Buffer.concat(rest.pieces).length, 1);
  });

  const faults: readonly (readonly [string, PacketRules, Buffer | readonly number[], RegExp])[] = [
    ["a length of five bytes", ON_5, [0x20, 0xff, 0xff, 0xff, 0xff, 1], /more than four bytes/],
    ["a PUBLISH before CONNACK", ON_5, publish(5, { topic: "a" }), /PUBLISH before CONNACK/],
    ["a second CONNACK", ON_5, Buffer.concat([CONNACK[5], CONNACK[5]]), /second CONNACK/],
    ["type 0", ON_5, Buffer.concat([CONNACK[5], Buffer.alloc(2)]), /reserved type 0/],
    ["AUTH", ON_5, Buffer.concat([CONNACK[5], packet(0xf0, [0x18])]), /AUTH.*must not send/],
    ["DISCONNECT on 3.1.1", ON_4, Buffer.concat([CONNACK[4], packet(0xe0)]), /DISCONNECT/],
    ["QoS 3", ON_5, Buffer.concat([CONNACK[5], packet(0x36, [0, 1, 97, 0])]), /wrong flags/],
    [
      "an empty PUBACK",
      ON_5,
      Buffer.concat([CONNACK[5], packet(0x40)]),
      /PUBACK of a wrong length/,
    ],
    [
      "a long PUBACK on 3.1.1",
      ON_4,
      Buffer.concat([CONNACK[4], packet(0x40, [0, 1, 0])]),
      /length/,
    ],
    ["a PINGRESP with a body", ON_5, Buffer.concat([CONNACK[5], packet(0xd0, [0])]), /PINGRESP/],
    [
      "a large first packet of a stranger",
      { sender: "client", protocol: 4, maximumPacketBytes: LIMIT, maximumFirstBytes: 50 },
      packet(0x10, Buffer.alloc(100)),
      /102 bytes; the limit is 50/,
    ],
    [
      "a client that plays the server",
      { sender: "client", protocol: 4, maximumPacketBytes: LIMIT },
      Buffer.concat([packet(0x10, Buffer.alloc(20)), packet(0x90, [0, 1, 0])]),
      /SUBACK, which a client/,
    ],
  ];
  for (const [name, rules, bytes, fault] of faults) {
    it(`is named: ${name}`, () => {
      assert.match(through(rules, Buffer.from(bytes)).fault ?? "", fault);
      const singly = Array.from({ length: bytes.length }, () => 1);
      assert.match(through(rules, Buffer.from(bytes), singly).fault ?? "", fault);
    });
  }
});

/** A guarded stream whose reader takes one piece at a time, when it is told to. */
function guarded(rules: PacketRules & { packetMs?: number }) {
  const stream = new PassThrough();
  const read: Buffer[] = [];
  const waiting: (() => void)[] = [];
  let failure: unknown;
  stream.on("error", (error) => {
    failure = error;
  });
  const slow = { on: false };
  limitIncoming(stream, rules).pipe(
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        read.push(chunk);
        if (slow.on) waiting.push(done);
        else done();
      },
    }),
  );
  return { stream, slow, waiting, bytes: () => Buffer.concat(read), failure: () => failure };
}

/** So many PUBACKs. */
function acknowledgements(count: number): Buffer {
  return Buffer.concat(Array.from({ length: count }, () => packet(0x40, [0, 1])));
}

describe("the guard in front of the client library", () => {
  it("cuts a packet that is not whole in time, however it drips", async () => {
    const { stream, failure } = guarded({ ...ON_5, packetMs: 60 });
    stream.write(CONNACK[5]);
    stream.write(Buffer.concat([Buffer.from([0x30]), digits(100)]));
    const timer = setInterval(() => stream.write("x"), 10);
    await until("it is cut", () => failure() !== undefined);
    clearInterval(timer);
    assert.ok(failure() instanceof ProtocolFault);
    assert.match(String(failure()), /incomplete after/);
  });

  it("cuts a flood of acknowledgements, and not all that can be due at once", async () => {
    const due = guarded(ON_4);
    due.stream.write(Buffer.concat([CONNACK[4], acknowledgements(65_535)]));
    await until("it is read", () => due.bytes().length === 4 + 65_535 * 4);
    assert.equal(due.failure(), undefined);
    const { stream, failure, bytes } = guarded(ON_4);
    stream.write(Buffer.concat([CONNACK[4], acknowledgements(100_000)]));
    await until("it is cut, or read", () => failure() !== undefined || bytes().length === 400_004);
    assert.match(String(failure()), /ProtocolFault: more than 20000 acknowledgements in a second/);
  });

  it("does not count the time between packets", async () => {
    const { stream, failure, bytes } = guarded({ ...ON_5, packetMs: 30 });
    stream.write(CONNACK[5]);
    await new Promise((resolve) => setTimeout(resolve, 90));
    stream.write(Buffer.from([0xd0, 0]));
    await until("it is read", () => bytes().length === 7);
    assert.equal(failure(), undefined);
  });

  it("lets a slow reader have one piece at a time, all of them in order", async () => {
    const { stream, slow, waiting, bytes } = guarded(ON_5);
    slow.on = true;
    const sent = Buffer.concat([
      CONNACK[5],
      ...Array.from({ length: 500 }, (_, index) => publish(5, { topic: "t", payload: `${index}` })),
    ]);
    for (let at = 0; at < sent.length; at += 777) stream.write(sent.subarray(at, at + 777));
    await until("the first piece", () => waiting.length === 1);
    assert.ok(bytes().length < sent.length / 2);
    await until("all of it", () => {
      assert.ok(waiting.length <= 1);
      waiting.shift()?.();
      return bytes().length === sent.length;
    });
    assert.ok(bytes().equals(sent));
  });

  it("survives a reader that throws, and cuts the connection", async () => {
    const stream = new PassThrough();
    let failure: unknown;
    stream.on("error", (error) => {
      failure = error;
    });
    const reader = new Writable({
      write() {
        throw new RangeError("out of bounds");
      },
    });
    limitIncoming(stream, ON_5).pipe(reader);
    stream.write(CONNACK[5]);
    await until("it is cut", () => failure !== undefined);
    assert.match(String(failure), /cannot be read \(out of bounds\)/);
  });
});
