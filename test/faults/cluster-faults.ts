import { setTimeout as pause } from "node:timers/promises";
import { until } from "../support/until.ts";
import { openClusterHarness, type ClusterHarness } from "./cluster-harness.ts";
import { createRandom, pick } from "./random-faults.ts";
import type { RandomFaultsOptions, RandomFaultsResult } from "./random-faults.ts";

const CLIENTS = ["a", "b", "c", "d", "e", "f", "g", "h"];
/** The longest pauses between two requests and between two faults, in milliseconds. */
const ASK_MS = 100;
const FAULT_MS = 6000;
/** A frozen gateway is taken for dead after 15 s. */
const FREEZE_MS = 22_000;

/**
 * Devices ask a cluster. Meanwhile its gateways, its database and its broker are killed, frozen and stopped, one
 * fault after another, by the seed. Then everything is repaired, and all requests must be answered.
 */
export async function runClusterFaults({
  gateways,
  seed,
  seconds,
  kits,
  log,
}: RandomFaultsOptions & { readonly gateways: number }): Promise<RandomFaultsResult> {
  const random = createRandom(seed);
  await using harness = await openClusterHarness({ gateways, clients: CLIENTS, kits });
  const faults: Record<string, number> = {};
  const end = performance.now() + seconds * 1000;
  const asking = { isPaused: false };
  const ask = async (): Promise<void> => {
    const { devices } = harness;
    while (performance.now() < end) {
      const isFull = devices.open().length + devices.unacknowledged() >= 40;
      if (!isFull && !asking.isPaused) devices.ask(pick(CLIENTS, random));
      await pause(random() * ASK_MS);
    }
  };
  const strike = async (): Promise<void> => {
    while (performance.now() < end) {
      await pause(random() * FAULT_MS);
      const [name, strikeWith] = pick(Object.entries(STRIKES), random);
      faults[name] = (faults[name] ?? 0) + 1;
      log(name);
      await strikeWith(harness, random, asking);
    }
  };
  const storm = async (): Promise<void> => {
    await Promise.all([ask(), strike()]);
    for (const member of harness.members) {
      await member.kill();
      await member.start();
    }
  };
  await Promise.all([storm(), harness.kits.run(end, createRandom(seed))]);
  const violations = await harness.outcome();
  faults["tool run"] = harness.traces();
  return {
    violations,
    faults: { ...faults, ...harness.kits.counts },
    requests: harness.devices.asked.length,
    rejected: 0,
    turns: harness.model.turns.length,
  };
}

type Strike = (
  harness: ClusterHarness,
  random: () => number,
  asking: { isPaused: boolean },
) => Promise<void>;

const STRIKES: Readonly<Record<string, Strike>> = {
  async "gateway killed"({ members }, random) {
    const member = pick(members, random);
    await member.kill();
    await pause(random() * 5000);
    await member.start();
  },
  async "gateway frozen"({ members }, random) {
    await pick(members, random).freeze(random() * FREEZE_MS);
  },
  async "gateway stopped"({ members }, random) {
    const member = pick(members, random);
    await member.stop();
    await pause(random() * 2000);
    await member.start();
  },
  async "database killed"(harness, random) {
    await harness.crashDatabase(random() * 5000);
  },
  async "standby promoted"(harness) {
    await harness.promoteReplica();
  },
  async "broker killed"(harness, _random, asking) {
    asking.isPaused = true;
    const isQuiet = (): boolean => harness.devices.unacknowledged() === 0;
    await until("what was asked is acknowledged", isQuiet);
    await harness.killBroker();
    asking.isPaused = false;
  },
  async "connections reset"({ proxy }) {
    proxy.reset();
  },
  async "broker out of reach"({ proxy }, random) {
    proxy.refuse(true);
    proxy.reset();
    await pause(random() * 3000);
    proxy.refuse(false);
  },
};
