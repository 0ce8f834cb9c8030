import { join } from "node:path";
import { connectAsync } from "mqtt";
import { clockEnvironment, needsFaketime } from "../../test/support/faketime.ts";
import { startMosquitto } from "../../test/support/mosquitto.ts";
import type { Mosquitto } from "../../test/support/mosquitto.ts";
import { quickConfig, startPicoclaw, writeConfig } from "../../test/support/picoclaw.ts";
import { cpuOf, forgetPeak, memoryOf } from "../../test/support/proc.ts";
import { temporaryFolder } from "../../test/support/temporary.ts";
import type { Figure } from "./figure.ts";

const TOPICS = 10_000;
const PER_SECOND = 1_000;
const STEP_MS = 10;
const SECONDS = 20;
const SETTLE_MS = 12_000;

/** None of them matches: what a match costs is a turn. */
const WATCHES = {
  "`$.t > 90`": { when: "$.t > 90" },
  "`becomes $.t > 90`": { when: "becomes $.t > 90" },
  "`changed $.t and $.t > 90`": { when: "changed $.t and $.t > 90" },
  "`unusual $.t`": { unusual: "$.t" },
} as const;

interface Cost {
  /** Megabytes. */
  readonly dirty: number;
  readonly rss: number;
  /** The largest resident set. */
  readonly peak: number;
  /** Of one core, in percent. */
  readonly cpu: number;
}

/** What 10,000 watched topics cost at 1,000 messages a second, beside a gateway that watches nothing. */
export async function* watchFigures(): AsyncGenerator<Figure> {
  for (const [name, watch] of Object.entries(WATCHES)) {
    const without = await costOf(undefined);
    const watching = await costOf(watch);
    const figure = (key: keyof Cost, what: string, unit: string): Figure => ({
      name: `${what} while 10,000 topics with ${name} are watched, 1,000 messages a second`,
      unit,
      ours: [watching[key]],
      reference: { name: "without", values: [without[key]] },
    });
    yield figure("dirty", "private memory", "MB");
    yield figure("rss", "RSS", "MB");
    yield figure("cpu", "CPU", "% of a core");
  }
  if (needsFaketime.skip) return;
  const without = await costOf(undefined, BEFORE_HOUR_S);
  const changed = await costOf(WATCHES["`unusual $.t`"], BEFORE_HOUR_S);
  for (const key of ["dirty", "peak"] as const) {
    yield {
      name: `${key === "dirty" ? "private memory after" : "peak RSS around"} the end of an hour of 10,000 baselines`,
      unit: "MB",
      ours: [changed[key]],
      reference: { name: "without", values: [without[key]] },
    };
  }
}

/** Seconds from the start of a gateway to the end of an hour, by its clock. */
const BEFORE_HOUR_S = 20;

function beforeHour(seconds: number): Record<string, string> {
  const over = Math.floor(Date.now() / 1000) % 3600;
  return clockEnvironment({ FAKETIME: `+${3600 - over - seconds}s` });
}

async function costOf(watch: object | undefined, beforeHourS?: number): Promise<Cost> {
  await using broker = await startMosquitto();
  await using home = await temporaryFolder();
  const rule = { topic: "sensors/+/+", prompt: "Say it.", client: "hall", ...watch };
  const defaults = { workspace: join(home.path, "workspace") };
  const tools = { mqtt: { watch: watch === undefined ? [] : [rule] } };
  await writeConfig(
    home.path,
    quickConfig(broker.url, { qos: 1 }, { agents: { defaults }, tools }),
  );
  const env = beforeHourS === undefined ? {} : beforeHour(beforeHourS);
  await using gateway = startPicoclaw(["gateway"], { home: home.path, env });
  await gateway.said(watch === undefined ? "gateway started" : "topics are watched");
  await publish(broker, TOPICS / PER_SECOND);
  const before = await cpuOf(gateway.pid);
  await forgetPeak(gateway.pid);
  await publish(broker, SECONDS);
  const cpu = (await cpuOf(gateway.pid)) - before;
  await pause(SETTLE_MS);
  const { dirty, rss, peak } = await memoryOf(gateway.pid);
  return { dirty, rss, peak, cpu: (cpu / (SECONDS * 1_000)) * 100 };
}

/** Publishes on each topic in turn. */
async function publish({ url }: Mosquitto, seconds: number): Promise<void> {
  await using client = disposable(await connectAsync(url));
  const begin = performance.now();
  for (let sent = 0; sent < seconds * PER_SECOND;) {
    const due = Math.floor(((performance.now() - begin) / 1_000) * PER_SECOND);
    for (; sent < Math.min(due, seconds * PER_SECOND); sent += 1) {
      const index = sent % TOPICS;
      const payload = JSON.stringify({ t: 20 + (sent % 7), humidity: 40, battery: 97 });
      client.publish(`sensors/room-${index % 100}/device-${index}`, payload);
    }
    await pause(STEP_MS);
  }
  await client.endAsync();
}

function disposable<C extends { end(force: boolean): unknown }>(client: C) {
  return Object.assign(client, {
    [Symbol.asyncDispose]: async () => {
      client.end(true);
    },
  });
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
