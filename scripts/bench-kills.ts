import { setTimeout as pause } from "node:timers/promises";
import { answers, type ModelServer } from "../test/support/model-server.ts";
import type { Mosquitto } from "../test/support/mosquitto.ts";
import type { Running } from "../test/support/picoclaw.ts";
import type { Postgres } from "../test/support/postgres.ts";
import { until } from "../test/support/until.ts";
import { clientOf, type Devices, openDevices, summaryOf } from "./bench/devices.ts";

interface Killing {
  readonly kills: number;
  readonly role: "intake" | "worker";
  readonly running: readonly Running[];
  /** Starts the gateway at that place; resolves when it serves. */
  readonly start: (index: number) => Promise<void>;
  readonly broker: Mosquitto;
  readonly postgres: Postgres;
  readonly model: ModelServer;
}

/** What a new gateway takes to be one of the cluster for the others, and more than a lease of the intake. */
const SETTLE_MS = 5_000;
/** Between requests while the next gateway is awaited that hears. */
const ASK_MS = 100;
/** A turn that is killed is in the middle of this. */
const TURN_MS = 3_000;
/** Requests in a row, each of another client: more than two gateways run at once. */
const TURNS = 48;
const PATIENCE_MS = 60_000;

/** Kills gateways one after the other, and prints how long their devices wait. */
export async function measureKills(killing: Killing): Promise<void> {
  await using devices = await openDevices(killing.broker);
  // The first turns compile what later ones run.
  for (let index = 0; index < 30; index += 1) devices.ask();
  await until("the first requests are answered", () => devices.open.size === 0, PATIENCE_MS);
  const times = new Map<string, number[]>();
  for (let done = 0; done < killing.kills; done += 1) {
    await pause(SETTLE_MS);
    const measured = await (killing.role === "intake" ? killIntake : killWorker)(killing, devices);
    for (const [name, values] of Object.entries(measured)) {
      times.set(name, [...(times.get(name) ?? []), ...values]);
    }
    console.log(`${done + 1}: ${JSON.stringify(measured)}`);
    await until("all is answered", () => devices.open.size === 0, PATIENCE_MS).catch(() => {});
  }
  for (const [name, values] of times) console.log(`${name}: ${summaryOf(values)}`);
  console.log(`${devices.open.size} requests have no answer`);
}

/** Milliseconds until another gateway hears, and until the first answer to what was asked after the kill. */
async function killIntake(killing: Killing, devices: Devices): Promise<Record<string, number[]>> {
  const { running, start, postgres } = killing;
  const victim = await placeOf(
    "JOIN picoclaw.intakes AS i USING (owner) WHERE i.until > now()",
    postgres,
  );
  const heard = running.map(hearings);
  const killedAt = performance.now();
  running[victim]?.kill("SIGKILL");
  const asked = new Set<string>();
  let [hears, answered]: [number | undefined, number | undefined] = [undefined, undefined];
  while (hears === undefined || answered === undefined) {
    if (performance.now() - killedAt > PATIENCE_MS) break;
    asked.add(devices.ask());
    for (let looks = 0; looks < 10; looks += 1) {
      await pause(ASK_MS / 10);
      const now = performance.now() - killedAt;
      if (running.some((each, index) => index !== victim && hearings(each) > (heard[index] ?? 0)))
        hears ??= now;
      if ([...asked].some((id) => !devices.open.has(id))) answered ??= now;
    }
  }
  await start(victim);
  const rounded = [hears, answered].map((each) => Math.round(each ?? PATIENCE_MS));
  return { "to hear": rounded.slice(0, 1), "to the next answer": rounded.slice(1) };
}

/** How often it began to hear. */
function hearings(gateway: Running): number {
  return gateway.stderr().split("connected as the intake").length - 1;
}

/** Milliseconds until the answers of the turns that a gateway was in the middle of. */
async function killWorker(killing: Killing, devices: Devices): Promise<Record<string, number[]>> {
  const { running, start, postgres, model } = killing;
  model.otherwise(async (request, response) => {
    await pause(TURN_MS);
    await answers("Four words of answer.")(request, response);
  });
  const ids = Array.from({ length: TURNS }, () => devices.ask());
  await pause(TURN_MS * 0.6);
  const mostWork = `JOIN picoclaw.requests AS r USING (owner) WHERE r.state = 0 AND r.attempt > 0
    AND NOT EXISTS (SELECT FROM picoclaw.intakes AS i WHERE i.owner = o.owner) GROUP BY o.owner ORDER BY count(*) DESC`;
  const victim = await placeOf(mostWork, postgres);
  const lanes =
    await postgres.sql(`SELECT r.lane FROM picoclaw.requests AS r JOIN picoclaw.owners AS o USING (owner)
    WHERE r.state = 0 AND o.about::json ->> 'name' = 'g${victim}'`);
  const clients = new Set(lanes.split("\n").map((lane) => lane.replace(/^.*mqtt/, "")));
  const killedAt = performance.now();
  running[victim]?.kill("SIGKILL");
  model.otherwise(answers("Four words of answer."));
  const lost = ids.filter((id) => clients.has(clientOf(id)) && devices.open.has(id));
  const waits = new Map<string, number>();
  await until(
    "the turns of the dead gateway are answered",
    () => {
      for (const id of lost) {
        if (!devices.open.has(id) && !waits.has(id)) waits.set(id, performance.now() - killedAt);
      }
      return waits.size === lost.length;
    },
    PATIENCE_MS,
  ).catch(() => {});
  await start(victim);
  return {
    "to the answer of a killed turn": lost.map((id) => Math.round(waits.get(id) ?? PATIENCE_MS)),
  };
}

/** Of the first gateway that such a query finds. */
async function placeOf(query: string, postgres: Postgres): Promise<number> {
  const name = `SELECT min(o.about::json ->> 'name') FROM picoclaw.owners AS o ${query} LIMIT 1`;
  let place = Number.NaN;
  await until(
    "there is a gateway to kill",
    async () => {
      place = Number((await postgres.sql(name)).trim().replace(/^g/, "") || "none");
      return !Number.isNaN(place);
    },
    PATIENCE_MS,
  );
  return place;
}
