import { setTimeout as pause } from "node:timers/promises";
import { until } from "../support/until.ts";
import { openFaultHarness, POINTS, type FaultHarness } from "./fault-harness.ts";
import type { Kit } from "./kits.ts";

export interface RandomFaultsOptions {
  readonly seed: number;
  readonly seconds: number;
  readonly kits: readonly Kit[];
  readonly log: (line: string) => void;
}

export interface RandomFaultsResult {
  readonly violations: readonly string[];
  readonly requests: number;
  readonly turns: number;
  /** Requests that got a rejection. */
  readonly rejected: number;
  readonly faults: Readonly<Record<string, number>>;
}

const CLIENTS = ["a", "b", "c", "d"];
/** The longest pauses between two requests and between two faults, in milliseconds. */
const ASK_MS = 120;
const FAULT_MS = 2500;
/** How often a client sends a flood instead of one request, and its size. */
const FLOOD_SHARE = 0.01;
const FLOOD = { least: 100, most: 500 };
/** The longest absence of a device, in milliseconds: shorter than its answers wait. */
const AWAY_MS = 6000;
/** So many requests of a flood are answered; the rest is rejected. */
const LIMITS = { requests_per_minute: 600, burst: 100, queued: 32 };
const REPORT_MS = 60_000;

/**
 * Devices send requests, sometimes floods, and go away and come back. Meanwhile the gateway and the broker are
 * killed, frozen and disconnected from each other, one fault after another, by the seed. Then everything is
 * repaired, and all requests must be answered.
 */
export async function runRandomFaults({
  seed,
  seconds,
  kits,
  log,
}: RandomFaultsOptions): Promise<RandomFaultsResult> {
  const random = createRandom(seed);
  await using harness = await openFaultHarness({
    clients: CLIENTS,
    kits,
    settings: { limits: LIMITS },
    mayBeRejected: true,
  });
  await harness.start();
  const end = performance.now() + seconds * 1000;
  const faults: Record<string, number> = {};
  const asking: Asking = { isPaused: false };
  const storm = Promise.all([
    askUntil(end, harness, { random, faults, asking }),
    strikeUntil(end, harness, { random, faults, asking }),
    logUntil(end, harness, log),
  ]);
  const answered = harness.kits.run(end, createRandom(seed));
  await Promise.all([storm.then(() => mend(harness)), answered]);
  const violations = await harness.outcome(90_000);
  return {
    violations,
    faults: { ...faults, ...harness.kits.counts },
    requests: harness.devices.asked.length,
    rejected: rejectedIn(harness),
    turns: harness.model.turns.length,
  };
}

function rejectedIn({ devices }: FaultHarness): number {
  const rejected = devices.heard.filter(
    ({ error }) => error === "busy" || error === "rate_limited",
  );
  return new Set(rejected.map(({ client, id }) => `${client} ${id}`)).size;
}

/** Mulberry32: the same numbers for the same seed everywhere. */
export function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

export function pick<T>(from: readonly T[], random: () => number): T {
  const picked = from[Math.floor(random() * from.length)];
  if (picked === undefined) throw new Error("nothing to pick from");
  return picked;
}

interface Asking {
  isPaused: boolean;
}

async function askUntil(
  end: number,
  { devices }: FaultHarness,
  { random, faults, asking }: Striking,
): Promise<void> {
  while (performance.now() < end) {
    const client = pick(CLIENTS, random);
    // Single requests wait while 24 are open; floods do not.
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
  harness: FaultHarness,
  { random, faults, asking }: Striking,
): Promise<void> {
  while (performance.now() < end) {
    await pause(random() * FAULT_MS);
    const [name, strike] = pick(Object.entries(STRIKES), random);
    faults[name] = (faults[name] ?? 0) + 1;
    await strike(harness, random, asking);
  }
}

type Strike = (harness: FaultHarness, random: () => number, asking: Asking) => Promise<void>;

const STRIKES: Readonly<Record<string, Strike>> = {
  async "gateway killed"(harness) {
    await harness.kill();
    await harness.start();
  },
  async "gateway dies at a point"(harness, random) {
    await harness.kill();
    const times = 1 + Math.floor(random() * 3);
    const started = await harness.start(`${pick(POINTS, random)}:${times}`);
    await Promise.race([started.ended, pause(5000)]);
    await harness.kill();
    await harness.start();
  },
  async "gateway stopped"(harness) {
    harness.stops.push(performance.now());
    harness.gateway().kill("SIGTERM");
    await harness.gateway().ended;
    // A turn may have started before the signal arrived.
    harness.stops.push(performance.now());
    await harness.start();
  },
  async "gateway frozen"(harness, random) {
    await harness.freeze(random() * 4000);
  },
  async "broker killed"(harness, _random, asking) {
    await killBroker(harness, asking);
  },
  async "device away"({ devices }, random) {
    const client = pick(CLIENTS, random);
    await devices.leave(client);
    await pause(random() * AWAY_MS);
    await devices.comeBack(client);
  },
  async "both killed, and a device comes back late"(harness, random, asking) {
    const client = pick(CLIENTS, random);
    await harness.devices.leave(client);
    await harness.kill();
    await killBroker(harness, asking);
    await harness.start();
    await pause(1000 + random() * AWAY_MS);
    await harness.devices.comeBack(client);
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
    // Bytes are missing in the middle: the rest of these connections is useless.
    proxy.blackhole(false);
    proxy.reset();
  },
};

async function killBroker(harness: FaultHarness, asking: Asking): Promise<void> {
  asking.isPaused = true;
  await until("what was asked is acknowledged", () => harness.devices.unacknowledged() === 0);
  await harness.killBroker();
  asking.isPaused = false;
}

async function logUntil(
  end: number,
  harness: FaultHarness,
  log: (line: string) => void,
): Promise<void> {
  while (performance.now() < end) {
    await pause(Math.min(REPORT_MS, Math.max(0, end - performance.now())));
    const { devices, kills } = harness;
    log(`${devices.asked.length} requests, ${devices.open().length} open, ${kills.length} deaths`);
  }
}

/** Makes everything run and reachable; starts the gateway once more, without a failpoint. */
async function mend(harness: FaultHarness): Promise<void> {
  harness.proxy.refuse(false);
  harness.proxy.blackhole(false);
  await harness.kill();
  await harness.start();
}
