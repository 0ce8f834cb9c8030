import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import {
  connect as connectMqtt,
  type IClientOptions,
  type IPublishPacket,
  type MqttClient,
} from "mqtt";
import { Secret } from "../../src/base/secret.ts";
import { BROKER_LIMITS, openBroker, type BrokerLimits } from "../../src/mqtt/broker/broker.ts";
import { field, packet } from "./hostile-broker.ts";
import { createMemoryLog } from "./memory-log.ts";
import { until } from "./until.ts";

/** A built-in broker with limits of its own, and a client that behaves. */
export async function attacked(
  limits: Partial<BrokerLimits> = {},
  credentials?: { readonly username: string; readonly password: string },
) {
  const log = createMemoryLog();
  const settings = {
    broker: "embedded://127.0.0.1:0",
    ...(credentials && {
      username: new Secret(credentials.username),
      password: new Secret(credentials.password),
    }),
  };
  const broker = await openBroker(settings, log, {
    ...BROKER_LIMITS,
    ...limits,
  });
  const opened: (MqttClient | Socket)[] = [];
  const enter = async (
    options: IClientOptions = {},
    onMessage: (topic: string, payload: Buffer, packet: IPublishPacket) => void = () => {},
  ): Promise<MqttClient> => {
    const url = `mqtt://127.0.0.1:${broker.port}`;
    const client = connectMqtt(url, { reconnectPeriod: 0, ...options });
    opened.push(client);
    // What waits for a client comes with CONNACK.
    client.on("message", onMessage);
    const { promise: connected, resolve, reject } = Promise.withResolvers<void>();
    client.once("connect", () => resolve()).once("error", reject);
    await connected;
    client.on("error", () => {});
    return client;
  };
  const raw = () => {
    const socket = connect({ host: "127.0.0.1", port: broker.port });
    socket.on("error", () => {});
    opened.push(socket);
    let chunks: Buffer[] = [];
    const attacker = {
      socket,
      get got(): Buffer {
        if (chunks.length !== 1) chunks = [Buffer.concat(chunks)];
        return chunks[0] ?? Buffer.alloc(0);
      },
      set got(bytes: Buffer) {
        chunks = [bytes];
      },
      isCut: false,
    };
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.once("close", () => {
      attacker.isCut = true;
    });
    return attacker;
  };
  return {
    log,
    port: broker.port,
    hasSubscriber: (topic: string) => broker.hasSubscriber(topic),
    /** Of the agent `edge`. */
    awaitGateway: (qos: 0 | 1 | 2) =>
      broker.awaitGateway({ topic_prefix: "/picoclaw", agent_id: "edge", qos }),
    enter,
    raw,
    /** A raw connection whose CONNECT was taken. */
    async rawEntered(id: string, more: { flags?: number; rest?: readonly Buffer[] } = {}) {
      const attacker = raw();
      attacker.socket.write(hello(id, more));
      await until("CONNACK", () => attacker.got.length >= 4);
      assert.deepEqual([...attacker.got.subarray(0, 4)], [0x20, 2, attacker.got[2] ?? 0, 0]);
      const isKnown = attacker.got[2] === 1;
      attacker.got = attacker.got.subarray(4);
      return Object.assign(attacker, { isKnown });
    },
    /** The broker serves whoever comes now. */
    async stillServes(): Promise<void> {
      const client = await enter();
      await client.subscribeAsync("alive");
      const { promise: heard, resolve } = Promise.withResolvers<void>();
      client.once("message", () => resolve());
      await client.publishAsync("alive", "yes", { qos: 1 });
      await heard;
    },
    async [Symbol.asyncDispose](): Promise<void> {
      for (const one of opened) {
        if ("end" in one && "endAsync" in one) await one.endAsync(true);
        else one.destroy();
      }
      await broker.close();
    },
  };
}

/** A CONNECT of MQTT 3.1.1; the flags are Clean Session alone, where nothing else is said. */
export function hello(
  id: string | Buffer,
  { flags = 2, rest = [] }: { flags?: number; rest?: readonly Buffer[] } = {},
): Buffer {
  return packet(0x10, field("MQTT"), [4, flags, 0, 0], field(id), ...rest);
}

export function subscribe(id: number, filters: readonly string[], qos = 0): Buffer {
  const asked = filters.map((filter) => Buffer.concat([field(filter), Buffer.from([qos])]));
  return packet(0x82, [id >> 8, id & 255], ...asked);
}
