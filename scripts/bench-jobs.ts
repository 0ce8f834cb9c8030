import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { connectAsync } from "mqtt";
import { SILENT } from "../src/base/log.ts";
import { BOUNDS } from "../src/cli/state/conversations.ts";
import type { NewJob } from "../src/store/contract/jobs.ts";
import { openInstance } from "../src/store/home/instance-lock.ts";
import { openSqliteStore } from "../src/store/sqlite/store.ts";
import { startModelServer, streamsSlowly } from "../test/support/model-server.ts";
import { startMosquitto } from "../test/support/mosquitto.ts";
import { modelConfig, startGateway, writeConfig } from "../test/support/picoclaw.ts";
import { temporaryFolder } from "../test/support/temporary.ts";
import { until } from "../test/support/until.ts";
import { openDevices, summaryOf } from "./bench/devices.ts";

/**
 * `npm run bench:jobs [-- --jobs N --model-ms MS]`: so many jobs due in the same second, against the compiled
 * program, one row each: of as many clients, of a few, and texts without a model. The last is heard when the model
 * has answered all of them, and this time is the reference. A client that asks one thing after the other all the time
 * tells whether others are answered meanwhile. Ends with 1 if a job was not heard once.
 */
const { values } = parseArgs({
  options: {
    jobs: { type: "string", default: "500" },
    "model-ms": { type: "string", default: "100" },
  },
});
const [jobs, modelMs] = [Number(values.jobs), Number(values["model-ms"])];
process.env["PICOCLAW_UNDER_TEST"] = "binary";

interface Case {
  readonly clients: number;
  readonly kind: "message" | "text";
}

const CASES: readonly Case[] = [
  { clients: jobs, kind: "message" },
  { clients: Math.ceil(jobs / 25), kind: "message" },
  { clients: jobs, kind: "text" },
];

/** Turns at the same time: `max_parallel_turns` is 16, and one is kept for clients that ask. */
const TURNS = 15;

/** Milliseconds from the start of the gateway to the time of the jobs: it asks alone in the second half. */
const BEFORE_MS = 8000;

async function run({ clients, kind }: Case): Promise<boolean> {
  await using model = await startModelServer({ forgets: true });
  await using broker = await startMosquitto();
  await using home = await temporaryFolder();
  model.otherwise(streamsSlowly(10, modelMs));
  const gateway = { port: 0 };
  await writeConfig(home.path, modelConfig(broker.url, model.base, { gateway }));
  const schedule = { kind: "every", ms: 86_400_000 } as const;
  const due = Date.now() + BEFORE_MS;
  await addJobs(
    join(home.path, "workspace", "state"),
    Array.from({ length: jobs }, (_, index) => ({
      id: `j${index}`,
      channel: "mqtt",
      client: `c${index % clients}`,
      name: `j${index}`,
      schedule,
      payload: { kind, text: "Say something." },
      nextAt: due + (index % 1000),
    })),
  );
  const heard = new Map<string, number>();
  const pushed: number[] = [];
  await using running = await startGateway({ home: home.path });
  const listener = await connectAsync(broker.url, { clientId: "pushed" });
  listener.on("message", (_topic, payload) => {
    const { id, push } = JSON.parse(String(payload));
    if (push !== true) return;
    heard.set(id, (heard.get(id) ?? 0) + 1);
    pushed.push(Date.now() - Number(id.split("-").at(-1)));
  });
  await listener.subscribeAsync("/picoclaw/assistant/+/response", { qos: 1 });
  await using other = await openDevices(broker);
  const ask = async (isOver: () => boolean): Promise<readonly number[]> => {
    const from = other.times.length;
    while (!isOver()) {
      other.ask("other");
      await until("the other client is answered", () => other.open.size === 0);
    }
    return other.times.slice(from);
  };
  await pause(Math.max(0, due - Date.now() - BEFORE_MS / 2));
  const alone = await ask(() => Date.now() >= due);
  const meanwhile = await ask(() => heard.size >= jobs);
  await pause(1000);
  const best = kind === "text" ? 0 : Math.ceil(jobs / Math.min(clients, TURNS)) * modelMs;
  const ratio =
    kind === "text" ? "" : `, ${(Math.max(...pushed) / best).toFixed(2)} of the model's ${best} ms`;
  const twice = [...heard.values()].filter((count) => count > 1).length;
  console.log(
    `${jobs} jobs (${kind}) of ${clients} clients: ${heard.size} heard, ${twice} twice; after their time: ${summaryOf(pushed)}, last ${Math.max(...pushed)} ms${ratio}; another client alone: ${summaryOf(alone)}; meanwhile: ${summaryOf(meanwhile)}`,
  );
  await listener.endAsync(true);
  running.kill("SIGTERM");
  await running.ended;
  return heard.size === jobs && twice === 0;
}

async function addJobs(folder: string, added: readonly NewJob[]): Promise<void> {
  const home = await openInstance(folder, { log: SILENT });
  const bounds = { ...BOUNDS, windowMs: 600_000 };
  const options = { owner: "bench", now: () => Date.now(), bounds, log: SILENT };
  const opened = await openSqliteStore<unknown>(home.databaseFile, options);
  const store = await opened.jobs();
  const most = { ofClient: jobs, ofAll: jobs };
  await Promise.all(added.map((job) => store.addJob(job, most)));
  await opened.close();
  home.close();
}

for (const one of CASES) if (!(await run(one))) process.exitCode = 1;
