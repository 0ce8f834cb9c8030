import { setTimeout as pause } from "node:timers/promises";
import { until } from "../support/until.ts";
import { openWorld, POINTS, type World } from "./world.ts";

export interface StormOptions {
  readonly seed: number;
  readonly seconds: number;
  readonly tell: (line: string) => void;
}

export interface Aftermath {
  readonly violations: readonly string[];
  readonly requests: number;
  readonly turns: number;
  /** Requests that heard a rejection. */
  readonly rejected: number;
  readonly faults: Readonly<Record<string, number>>;
}

const CLIENTS = ["a", "b", "c", "d"];
/** Longest pauses between two requests and between two faults, milliseconds. */
const ASK_MS = 120;
const FAULT_MS = 2500;
/** How often a client asks much at once instead of once, and how much. */
const FLOOD_SHARE = 0.01;
const FLOOD = { least: 100, most: 500 };
/** How long a device is away at the most, milliseconds: less than its answers are kept. */
const AWAY_MS = 6000;
/** So many of a flood are answered, and the rest is rejected. */
const LIMITS = { requests_per_minute: 600, burst: 100, queued: 32 };
const TELL_MS = 60_000;

/**
 * Devices ask, now and then in floods, and go away and come back, while the gateway and the broker are killed, frozen and cut off from each other, one fault
 * after another as the seed says; then everything is mended and has to come to rest.
 */
export async function rideOut({ seed, seconds, tell }: StormOptions): Promise<Aftermath> {
  const random = createRandom(seed);
  await using world = await openWorld({
    clients: CLIENTS,
    settings: { limits: LIMITS },
    mayBeRejected: true,
  });
  await world.start();
  const end = performance.now() + seconds * 1000;
  const faults: Record<string, number> = {};
  const asking: Asking = { isPaused: false };
  await Promise.all([
    askUntil(end, world, { random, faults, asking }),
    strikeUntil(end, world, { random, faults, asking }),
    tellUntil(end, world, tell),
  ]);
  await mend(world);
  const violations = await world.outcome(90_000);
  return {
    violations,
    faults,
    requests: world.devices.asked.length,
    rejected: rejectedIn(world),
    turns: world.model.turns.length,
  };
}

function rejectedIn({ devices }: World): number {
  const rejected = devices.heard.filter(
    ({ error }) => error === "busy" || error === "rate_limited",
  );
  return new Set(rejected.map(({ client, id }) => `${client} ${id}`)).size;
}

/** Mulberry32: the same numbers for the same seed everywhere. */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function pick<T>(from: readonly T[], random: () => number): T {
  const picked = from[Math.floor(random() * from.length)];
  if (picked === undefined) throw new Error("nothing to pick from");
  return picked;
}

interface Asking {
  isPaused: boolean;
}

async function askUntil(
  end: number,
  { devices }: World,
  { random, faults, asking }: Striking,
): Promise<void> {
  while (performance.now() < end) {
    const client = pick(CLIENTS, random);
    // Who asks steadily leaves its answers behind; floods do not care.
    const isFull = devices.open().length + devices.unacknowledged() >= 24;
    if (!asking.isPaused && random() < FLOOD_SHARE) {
      faults["flood"] = (faults["flood"] ?? 0) + 1;
      const count = FLOOD.least + Math.floor(random() * (FLOOD.most - FLOOD.least));
      for (let index = 0; index < count; index += 1) devices.ask(client);
    } else if (!isFull && !asking.isPaused) devices.ask(client);
    await pause(random() * ASK_MS);
  }
}

interface Striking {
  readonly random: () => number;
  readonly faults: Record<string, number>;
  readonly asking: Asking;
}

async function strikeUntil(
  end: number,
  world: World,
  { random, faults, asking }: Striking,
): Promise<void> {
  while (performance.now() < end) {
    await pause(random() * FAULT_MS);
    const [name, strike] = pick(Object.entries(STRIKES), random);
    faults[name] = (faults[name] ?? 0) + 1;
    await strike(world, random, asking);
  }
}

type Strike = (world: World, random: () => number, asking: Asking) => Promise<void>;

const STRIKES: Readonly<Record<string, Strike>> = {
  async "gateway killed"(world) {
    await world.kill();
    await world.start();
  },
  async "gateway dies at a point"(world, random) {
    await world.kill();
    const times = 1 + Math.floor(random() * 3);
    const started = await world.start(`${pick(POINTS, random)}:${times}`);
    await Promise.race([started.ended, pause(5000)]);
    await world.kill();
    await world.start();
  },
  async "gateway stopped"(world) {
    world.stops.push(performance.now());
    world.gateway().kill("SIGTERM");
    await world.gateway().ended;
    // A turn may have begun before the signal was heard.
    world.stops.push(performance.now());
    await world.start();
  },
  async "gateway frozen"(world, random) {
    await world.freeze(random() * 4000);
  },
  async "broker killed"(world, _random, asking) {
    await killBroker(world, asking);
  },
  async "device away"({ devices }, random) {
    const client = pick(CLIENTS, random);
    await devices.leave(client);
    await pause(random() * AWAY_MS);
    await devices.comeBack(client);
  },
  async "both killed, and a device comes back late"(world, random, asking) {
    const client = pick(CLIENTS, random);
    await world.devices.leave(client);
    await world.kill();
    await killBroker(world, asking);
    await world.start();
    await pause(1000 + random() * AWAY_MS);
    await world.devices.comeBack(client);
  },
  async "broker frozen"({ broker }, random) {
    await broker.kill("SIGSTOP");
    await pause(random() * 4000);
    await broker.kill("SIGCONT");
  },
  async "connection reset"({ proxy }) {
    proxy.reset();
  },
  async "connection refused"({ proxy }, random) {
    proxy.refuse(true);
    proxy.reset();
    await pause(random() * 2000);
    proxy.refuse(false);
  },
  async "black hole"({ proxy }, random) {
    proxy.blackhole(true);
    await pause(random() * 4000);
    // Bytes are missing in the middle: what is left of these connections means nothing.
    proxy.blackhole(false);
    proxy.reset();
  },
};

async function killBroker(world: World, asking: Asking): Promise<void> {
  asking.isPaused = true;
  await until("what was asked is acknowledged", () => world.devices.unacknowledged() === 0);
  await world.killBroker();
  asking.isPaused = false;
}

async function tellUntil(end: number, world: World, tell: (line: string) => void): Promise<void> {
  while (performance.now() < end) {
    await pause(Math.min(TELL_MS, Math.max(0, end - performance.now())));
    const { devices, kills } = world;
    tell(`${devices.asked.length} requests, ${devices.open().length} open, ${kills.length} deaths`);
  }
}

/** Everything runs and is reachable; the gateway is started once more, without a fail point. */
async function mend(world: World): Promise<void> {
  world.proxy.refuse(false);
  world.proxy.blackhole(false);
  await world.kill();
  await world.start();
}
