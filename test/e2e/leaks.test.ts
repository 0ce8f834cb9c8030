import assert from "node:assert/strict";
import { it } from "node:test";
import { ASSISTANT, connectDevice } from "../support/bare-device.ts";
import type { Counts } from "../support/look-inside.ts";
import { freePort, needsMosquitto } from "../support/mosquitto.ts";
import { NO_LIMITS, quickConfig } from "../support/picoclaw.ts";
import { until } from "../support/until.ts";
import { startWatched, startWatchedGateway } from "../support/watched-gateway.ts";
import type { Asked, WatchedGateway } from "../support/watched-gateway.ts";

/** It is looked into in a way that only Bun offers. */
const compiled = { skip: process.env["PICOCLAW_UNDER_TEST"] !== "binary" };

const CLIENTS = 5_000;
const ROUNDS = 60;
/** Requests of one round, each of another client: the first half at QoS 0, the other at QoS 1. */
const AT_ONCE = 500;
/** After every so many rounds the broker is killed; in the others the gateway's connection is cut. */
const KILLED_EVERY = 6;
/** Every so many requests of a client is a turn with the model, the others are slash commands. */
const TURN_EVERY = 5;
/** Rounds of other clients before anything is counted: they fill what has a bound. */
const EARLY_ROUNDS = 10;

/** What each figure may be more at the end: less than one for each lost connection. */
const SLACK = 50;
/**
 * The usage of some 4,096 clients is in memory, of a sixteenth more or less. Each client is some ten objects and
 * texts: those of 5,000 would be 50,000.
 */
const BOUNDS: Counts = {
  "objects of class Object": 2_500,
  "objects of class string": 2_500,
  "objects of class Array": 500,
};
/** What the engine makes of code, throws away, and makes anew. */
const CODE = /Code|Executable|Structure|SymbolTable|PropertyTable|Butterfly|RegExp/;

it(
  "nothing grows with requests, clients and lost connections",
  { skip: needsMosquitto.skip || compiled.skip, timeout: 300_000 },
  async () => {
    await using gateway = await startWatchedGateway();
    for (let round = 0; round < EARLY_ROUNDS; round += 1) {
      await runRound(gateway, round, (index, qos) => asked(`early-${index}`, true, qos));
    }
    const before = await gateway.look();
    for (let round = 0; round < ROUNDS; round += 1) {
      const times = Math.floor((round * AT_ONCE) / CLIENTS);
      await runRound(gateway, round, (index, qos) => {
        const client = index % CLIENTS;
        return asked(`client-${client}`, (client + times) % TURN_EVERY === 0, qos);
      });
    }
    assert.deepEqual(await grownSince(before, gateway), []);
    assert.equal(gateway.lost(), EARLY_ROUNDS + ROUNDS);
  },
);

const DEVICE_ROUNDS = 20;
const DEVICES_AT_ONCE = 20;

it("nothing grows with the devices that connect to the built-in broker", compiled, async () => {
  const port = await freePort();
  const settings = { qos: 1, limits: NO_LIMITS };
  const config = quickConfig(`embedded://127.0.0.1:${port}`, settings);
  await using gateway = await startWatched(config);
  let devices = 0;
  const connectAndAsk = async (client: string): Promise<void> => {
    devices += 1;
    const agent = { ...ASSISTANT, name: `${devices}` };
    using device = await connectDevice(agent, { port, qos: 1, version: 4 });
    await device.ask(client, "/help");
  };
  const connectAll = async (): Promise<void> => {
    for (let round = 0; round < DEVICE_ROUNDS; round += 1) {
      const names = Array.from({ length: DEVICES_AT_ONCE }, (_, index) => `client-${index}`);
      await Promise.all(names.map(connectAndAsk));
    }
  };
  await connectAll();
  const before = await gateway.look();
  await connectAll();
  assert.deepEqual(await grownSince(before, gateway), []);
});

type RequestOf = (index: number, qos: 0 | 1) => Asked;

async function runRound(
  gateway: WatchedGateway,
  round: number,
  requestOf: RequestOf,
): Promise<void> {
  const isKilled = (round + 1) % KILLED_EVERY === 0;
  const half = AT_ONCE / 2;
  const first = round * AT_ONCE;
  await gateway.askAll(half, (index) => requestOf(first + index, 0));
  // The broker keeps these while the gateway is away.
  const kept = gateway.askAll(half, (index) => requestOf(first + half + index, 1));
  if (!isKilled) await gateway.cut();
  await kept;
  if (isKilled) await gateway.killBroker();
}

function asked(client: string, isTurn: boolean, qos: 0 | 1): Asked {
  return { client, text: isTurn ? "How late is it?" : "/help", qos };
}

/** What is on its way on a busy machine is gone by then; a leak is there however often one looks. */
const GONE_MS = 30_000;

/** What is more than it may be, and stays so. */
async function grownSince(
  before: Counts,
  { look }: Pick<WatchedGateway, "look">,
): Promise<string[]> {
  let found: string[] = [];
  const nothing = async (): Promise<boolean> => {
    found = grown(before, await look());
    return found.length === 0;
  };
  await until("nothing has grown", nothing, GONE_MS).catch(() => {});
  return found;
}

/** What is more than it may be, as `name: before → after`. */
function grown(before: Counts, after: Counts): string[] {
  return Object.entries(after)
    .filter(([name]) => !CODE.test(name))
    .map(([name, count]) => ({ name, had: before[name] ?? 0, count }))
    .filter(({ name, had, count }) => count - had > (BOUNDS[name] ?? SLACK))
    .map(({ name, had, count }) => `${name}: ${had} → ${count}`);
}
