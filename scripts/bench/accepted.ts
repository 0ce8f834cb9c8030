import { mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hangs, startModelServer } from "../../test/support/model-server.ts";
import { startMosquitto } from "../../test/support/mosquitto.ts";
import { fakeBroker, polite, readPackets } from "../../test/support/packets.ts";
import { NO_LIMITS, quickConfig, startGateway, writeConfig } from "../../test/support/picoclaw.ts";
import type { Figure } from "./figure.ts";

const MESSAGES = 4000;
/** Of them; not measured. */
const WARM_UP = 1000;
const WINDOW = 20;
const SAVED_AT_EXIT = ["persistence true"];
const SAVED_ON_CHANGES = ["persistence true", "autosave_on_changes true", "autosave_interval 1"];

/**
 * Requests a second that the gateway acknowledges, each on the disk by then, beside the QoS 1 publishes that
 * mosquitto acknowledges with its persistence on, on the same disk.
 */
export async function* acceptedFigures(runs: number): AsyncGenerator<Figure> {
  const rates = { ours: [] as number[], lazy: [] as number[], saving: [] as number[] };
  for (let run = 0; run < runs; run += 1) {
    rates.ours.push(await gatewayRate());
    rates.lazy.push(await mosquittoRate(SAVED_AT_EXIT));
    rates.saving.push(await mosquittoRate(SAVED_ON_CHANGES));
  }
  const figure = {
    name: `accepted on disk, ${WINDOW} in flight`,
    unit: "a second",
    ours: rates.ours,
  };
  yield { ...figure, reference: { name: "mosquitto, no fsync", values: rates.lazy } };
  yield { ...figure, reference: { name: "mosquitto, every change saved", values: rates.saving } };
}

/** Plays the broker of a gateway whose model never answers: sends PUBLISH, waits for PUBACK. */
async function gatewayRate(): Promise<number> {
  const home = await mkdtemp(join(tmpdir(), "picoclaw-bench-"));
  await using model = await startModelServer();
  model.otherwise(hangs());
  const done = Promise.withResolvers<number>();
  const pump = createPump(done.resolve);
  const subscribed = Promise.withResolvers<Socket>();
  await using broker = await fakeBroker((packet, socket) => {
    polite(packet, socket);
    if (packet.type === 8) subscribed.resolve(socket);
    if (packet.type === 4) pump.acknowledged();
  });
  await writeConfig(home, configFor(broker.url, model.base, home));
  const gateway = await startGateway({ home });
  try {
    await gateway.said("gateway started");
    pump.start(await subscribed.promise);
    return await done.promise;
  } finally {
    await gateway[Symbol.asyncDispose]();
    await rm(home, { recursive: true, force: true });
  }
}

function configFor(broker: string, api_base: string, home: string): object {
  const settings = { qos: 1, protocol_version: 4, limits: NO_LIMITS, client_id: "bench" };
  const model = { model_name: "m", model: "openai/m", api_base, api_keys: ["sk-bench"] };
  const defaults = { workspace: join(home, "workspace"), model_name: "m" };
  return quickConfig(broker, settings, { agents: { defaults }, model_list: [model] });
}

/** Publishes to a mosquitto that stores every message for a subscriber that is away. */
async function mosquittoRate(persistence: readonly string[]): Promise<number> {
  await using broker = await startMosquitto({
    lines: [
      "listener {port} 127.0.0.1",
      "allow_anonymous true",
      "persistence_location {folder}/",
      "max_queued_messages 0",
      ...persistence,
    ],
  });
  await subscribeAndLeave(broker.port);
  const done = Promise.withResolvers<number>();
  const pump = createPump(done.resolve);
  const socket = connect(broker.port, "127.0.0.1");
  socket.setNoDelay(true);
  readPackets(socket, ({ type }) => {
    if (type === 2) pump.start(socket);
    if (type === 4) pump.acknowledged();
  });
  socket.write(connectPacket("publisher", true));
  const rate = await done.promise;
  socket.destroy();
  return rate;
}

async function subscribeAndLeave(port: number): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  const subscribed = Promise.withResolvers<void>();
  readPackets(socket, ({ type }) => {
    if (type === 2) socket.write(Buffer.from([0x82, 6, 0, 1, 0, 1, 0x23, 1]));
    if (type === 9) subscribed.resolve();
  });
  socket.write(connectPacket("away", false));
  await subscribed.promise;
  socket.destroy();
}

interface Pump {
  start(socket: Socket): void;
  acknowledged(): void;
}

/** Has so many publishes in flight until all are acknowledged, then calls `finish` with their number a second. */
function createPump(finish: (perSecond: number) => void): Pump {
  let sent = 0;
  let acknowledged = 0;
  let begun = 0;
  let to: Socket | undefined;
  const fill = (): void => {
    while (sent < MESSAGES && sent - acknowledged < WINDOW) {
      sent += 1;
      to?.write(publishPacket(sent));
    }
  };
  return {
    start(socket) {
      to = socket;
      fill();
    },
    acknowledged() {
      acknowledged += 1;
      if (acknowledged === WARM_UP) begun = performance.now();
      const seconds = (performance.now() - begun) / 1000;
      if (acknowledged === MESSAGES) finish((MESSAGES - WARM_UP) / seconds);
      else fill();
    },
  };
}

/** MQTT 3.1.1 section 3.1. */
function connectPacket(clientId: string, clean: boolean): Buffer {
  const body = [0, 4, ...Buffer.from("MQTT"), 4, clean ? 2 : 0, 0, 60, 0, clientId.length];
  return Buffer.from([0x10, body.length + clientId.length, ...body, ...Buffer.from(clientId)]);
}

/** MQTT 3.1.1 section 3.3, QoS 1: 50 devices ask in turn. */
function publishPacket(id: number): Buffer {
  const topic = Buffer.from(`/picoclaw/assistant/device-${10 + (id % 50)}/request`);
  const payload = Buffer.from(JSON.stringify({ text: "How warm is it?", id: `r-${id}` }));
  const head = Buffer.from([0x32, topic.length + payload.length + 4, 0, topic.length]);
  return Buffer.concat([head, topic, Buffer.from([id >> 8, id & 255]), payload]);
}
