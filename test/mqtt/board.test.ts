import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { it } from "node:test";
import { decodePart } from "../../src/mqtt/protocol/wire.ts";
import { answering, openTestChannel } from "../support/channel.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { readPackets } from "../support/packets.ts";
import { until } from "../support/until.ts";

const field = (text: string): Buffer =>
  Buffer.concat([Buffer.from([0, Buffer.byteLength(text)]), Buffer.from(text)]);
const packet = (head: number, ...body: readonly Buffer[]): Buffer => {
  const whole = Buffer.concat(body);
  return Buffer.concat([Buffer.from([head, whole.length]), whole]);
};

it(
  "a board that reads packets of 256 bytes and publishes at QoS 0 gets a long answer whole",
  needsMosquitto,
  async () => {
    await using broker = await startMosquitto();
    const text = 'Temperatur: 21 °C "warm"\n\u{1F321}'.repeat(60);
    await using asked = openTestChannel(broker.url, {
      settings: { max_message_bytes: 256, qos: 1 },
      onRequest: answering(text, " end"),
    });
    await asked.ready();
    const socket = connect(broker.port, "127.0.0.1");
    const parts: ReturnType<typeof decodePart>[] = [];
    let subscribed = false;
    readPackets(socket, ({ type, length, topic, bytes }) => {
      if (type === 9) subscribed = true;
      if (type !== 3) return;
      // PubSubClient drops what is larger than its buffer, in silence.
      if (length.bytes <= 256) parts.push(decodePart(bytes.subarray(2 + topic.length)));
    });
    await once(socket, "connect");
    socket.write(packet(0x10, field("MQTT"), Buffer.from([4, 2, 0, 60]), field("board")));
    socket.write(
      packet(0x82, Buffer.from([0, 1]), field("/picoclaw/edge/board/response"), Buffer.from([0])),
    );
    await until("subscribed", () => subscribed);
    socket.write(packet(0x30, field("/picoclaw/edge/board/request"), Buffer.from('{"text":"hi"}')));
    await until("the last part", () => parts.at(-1)?.done === true);
    socket.destroy();
    assert.equal(parts.map((part) => part?.text).join(""), `${text} end`);
    assert.deepEqual(
      parts.map((part) => part?.seq),
      parts.map((_, index) => index),
    );
  },
);
