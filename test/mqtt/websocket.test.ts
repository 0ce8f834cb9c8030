import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { Duplex } from "node:stream";
import { describe, it } from "node:test";
import { deflateRawSync } from "node:zlib";
import { WebSocketServer } from "ws";
import { openTestChannel } from "../support/channel.ts";
import { until } from "../support/until.ts";

/** RFC 6455 section 5.2: the head of an unmasked frame whose length stands in eight bytes. */
function head(first: number, length: number): Buffer {
  const bytes = Buffer.alloc(10);
  bytes.writeUInt8(first, 0);
  bytes.writeUInt8(127, 1);
  bytes.writeBigUInt64BE(BigInt(length), 2);
  return bytes;
}

const MEGABYTE = Buffer.alloc(1_048_576);
const CONTINUATION = 0x00;
const BEGINNING = 0x02;
const BINARY = 0x82;
const COMPRESSED = 0xc2;

/** A server that says yes to a WebSocket and then pours what it is given, as fast as it is taken. */
async function hostileServer(begin: Buffer, then: Buffer, extension = "") {
  const seen = { offered: [] as (string | undefined)[], cut: 0, sent: 0 };
  const open = new Set<Duplex>();
  const server = createServer();
  server.on("upgrade", ({ headers }, socket: Duplex) => {
    open.add(socket);
    seen.offered.push(headers["sec-websocket-extensions"]);
    const key = `${headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const accept = createHash("sha1").update(key).digest("base64");
    const lines = [
      "HTTP/1.1 101 Switching Protocols",
      "Upgrade: websocket",
      "Connection: Upgrade",
      `Sec-WebSocket-Accept: ${accept}`,
      "Sec-WebSocket-Protocol: mqtt",
      ...(extension === "" ? [] : [`Sec-WebSocket-Extensions: ${extension}`]),
    ];
    socket.write(`${lines.join("\r\n")}\r\n\r\n`);
    socket.write(begin);
    socket.resume();
    socket.once("end", () => socket.destroy());
    socket.on("error", () => {});
    socket.once("close", () => {
      seen.cut += 1;
    });
    const pour = (): void => {
      while (!socket.destroyed && then.length > 0 && seen.sent < 1e9) {
        seen.sent += then.length;
        if (!socket.write(then)) return void socket.once("drain", pour);
      }
    };
    pour();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" ? address?.port : 0;
  return {
    seen,
    url: `ws://127.0.0.1:${port}/`,
    async [Symbol.asyncDispose](): Promise<void> {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

describe("over WebSockets the connection is cut, and why is said, when the other side", () => {
  const misdeeds: readonly [string, Buffer, Buffer, string?][] = [
    ["announces a message of 8 GB", head(BINARY, 2 ** 33), MEGABYTE],
    [
      "sends fragments of 1 MB without end",
      Buffer.from([BEGINNING, 0]),
      Buffer.concat([head(CONTINUATION, MEGABYTE.length), MEGABYTE]),
    ],
    [
      "sends fragments of one byte without end",
      Buffer.from([BEGINNING, 0]),
      Buffer.concat(Array.from({ length: 50_000 }, () => Buffer.from([CONTINUATION, 1, 0]))),
    ],
    [
      "sends 64 MB in 64 KB, compressed, though nobody offered that",
      Buffer.concat(
        [deflateRawSync(Buffer.alloc(67_108_864))].flatMap((packed) => [
          head(COMPRESSED, packed.length),
          packed,
        ]),
      ),
      Buffer.alloc(0),
      "permessage-deflate",
    ],
  ];
  for (const [name, begin, then, extension] of misdeeds) {
    it(name, async () => {
      await using server = await hostileServer(begin, then, extension);
      await using asked = openTestChannel(server.url);
      const why = (): string => asked.channel.problem()?.why ?? "";
      await until("it is named", () => /a WebSocket message that is not allowed/.test(why()));
      await until("it is cut", () => server.seen.cut > 0);
      assert.equal(server.seen.offered[0], undefined);
      assert.ok(server.seen.sent < 200e6);
      assert.match(asked.channel.problem()?.message ?? "", /broke the MQTT protocol/);
    });
  }
});

it("announces the largest message that a WebSocket carries to an MQTT 5 broker", async () => {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(server, "listening");
  const address = server.address();
  let sent = Buffer.alloc(0);
  server.on("connection", (socket) => {
    socket.on("message", (data) => {
      if (Buffer.isBuffer(data)) sent = Buffer.concat([sent, data]);
    });
  });
  const url = `ws://127.0.0.1:${typeof address === "object" ? address?.port : 0}`;
  {
    await using _ = openTestChannel(url, { settings: { qos: 1, protocol_version: 5 } });
    // MQTT 5 section 3.1.2.11.4: Maximum Packet Size, 16 MiB.
    await until("CONNECT says so", () => sent.includes(Buffer.from([0x27, 1, 0, 0, 0])));
  }
  server.close();
});
