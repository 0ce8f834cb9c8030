import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import type { Socket } from "node:net";
import type { Failure } from "../../../src/base/failure.ts";
import { at } from "../../../src/base/unknown.ts";
import { openTestChannel } from "../../support/channel.ts";
import { politeOn5, readPackets } from "../../support/packets.ts";
import type { RawPacket } from "../../support/packets.ts";
import { headAndBody, kindOf } from "../target.ts";
import type { Target, Trial } from "../target.ts";

/** Packets that a client sends (MQTT 5, 2.1.2). */
const OF_CLIENTS: ReadonlySet<number> = new Set([1, 3, 4, 5, 6, 7, 8, 10, 12, 14, 15]);

/**
 * What a broker sends. With `frames` in the head the body is a first byte, two bytes of a length, and
 * so many bytes, again and again: each becomes a packet whose length is right.
 */
function bytesOf(input: Uint8Array): { readonly head: string; readonly bytes: Buffer } {
  const [head, body] = headAndBody(input);
  const raw = Buffer.from(body);
  if (!head.includes("frames")) return { head, bytes: raw };
  const packets: Buffer[] = [];
  for (let start = 0; start + 3 <= raw.length;) {
    const content = raw.subarray(start + 3, start + 3 + raw.readUInt16BE(start + 1));
    packets.push(Buffer.from([raw[start] ?? 0, ...lengthBytes(content.length)]), content);
    start += 3 + content.length;
  }
  return { head, bytes: Buffer.concat(packets) };
}

/** A Variable Byte Integer (MQTT 5, 1.5.5). */
function lengthBytes(length: number): number[] {
  return length < 128 ? [length] : [128 + (length % 128), ...lengthBytes(Math.floor(length / 128))];
}

/** Answers as a broker does until the channel is ready, then sends the input and hangs up. */
function play(
  socket: Socket,
  { head, bytes }: ReturnType<typeof bytesOf>,
  heard: RawPacket[],
): void {
  const send = (): void => void socket.end(bytes);
  readPackets(socket, (packet) => {
    heard.push(packet);
    if (packet.type === 1 && head.includes("early")) return send();
    // A retained `online` or `info` is the last thing a channel does before it is ready.
    politeOn5(packet, socket);
    if (packet.type === 3 && packet.topic.endsWith("/info")) setImmediate(send);
  });
}

async function open(): Promise<Trial> {
  let input: ReturnType<typeof bytesOf> = { head: "", bytes: Buffer.alloc(0) };
  let heard: RawPacket[] = [];
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    if (connections === 1) play(socket, input, heard);
    else socket.destroy();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `tcp://127.0.0.1:${Number(at(server.address(), "port"))}`;
  return {
    async run(bytes) {
      input = bytesOf(bytes);
      heard = [];
      connections = 0;
      const lost = Promise.withResolvers<Failure>();
      const test = openTestChannel(url, {
        settings: { qos: 1, protocol_version: 5, client_id: "me", max_payload_bytes: 1000 },
        reconnectMs: 60_000,
        connectTimeoutMs: 1_000,
        onProblem: lost.resolve,
      });
      const ended = test.channel.ended.then((failure) => failure);
      const failure = await Promise.race([lost.promise, ended]);
      await test[Symbol.asyncDispose]();
      check(test.requests, heard);
      const said = kindOf(failure?.message ?? "closed");
      return `${said} ${test.requests.length} ${new Set(heard.map(({ type }) => type)).size}`;
    },
    async close() {
      server.close();
      await once(server, "close");
    },
  };
}

type Requests = ReturnType<typeof openTestChannel>["requests"];

function check(requests: Requests, heard: readonly RawPacket[]): void {
  for (const { client, text, id = "", rejected } of requests) {
    assert.ok(client !== "" && !client.includes("/"), "a client that is no level of a topic");
    assert.ok((text.trim() === "") === (rejected !== undefined), "text, or why there is none");
    assert.ok(text.length <= 1000 && id.length <= 128);
  }
  for (const { type, topic } of heard) {
    assert.ok(OF_CLIENTS.has(type), `a client sent a packet of type ${type}`);
    if (type !== 3) continue;
    assert.match(topic, /^\/picoclaw\/edge\/(?:status|info|[^/+#\0]+\/[^+#\0]+)$/);
    assert.doesNotMatch(topic, /\/request$/);
  }
  const connects = heard.filter(({ type }) => type === 1).length;
  assert.equal(connects, 1, "two CONNECT on one connection");
}

export const BROKER: Target = {
  name: "broker",
  about: "whatever bytes a broker sends, the channel ends its session or goes on, and says why",
  material: {
    most: 8192,
    words: [
      "/picoclaw/edge/c1/request",
      '{"text":"hi"}',
      "frames\n%%\n",
      "early\n%%\n",
      "\u0000\u0004MQTT\u0005",
      "\u00020",
      "\u0003\u0000\u0000",
    ],
  },
  patience: 8_000,
  open,
};
