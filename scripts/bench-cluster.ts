import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { answers, startModelServer } from "../test/support/model-server.ts";
import { startMosquitto } from "../test/support/mosquitto.ts";
import {
  NO_LIMITS,
  quickConfig,
  startPicoclaw,
  writeConfig,
  type Running,
} from "../test/support/picoclaw.ts";
import { startPostgres } from "../test/support/postgres.ts";
import { temporaryFolder } from "../test/support/temporary.ts";
import { until } from "../test/support/until.ts";
import { measureKills } from "./bench-kills.ts";
import { openDevices, summaryOf } from "./bench/devices.ts";

/**
 * `npm run bench:cluster -- --gateways 3 --rate 167 --seconds 30 --clients 10000`: gateways on one PostgreSQL, a model
 * that answers at once, and clients that ask at random times. With `--gateways 0` one gateway with SQLite. Prints
 * times from the request to the end of its answer, what the gateways and the database did for it, and what is missing.
 * `--statements` lists what the database spent its time on. A burst: `--rate 2000 --seconds 5 --clients 2000`;
 * with `--warm 4000` requests before it the memory is that of gateways that have worked for a while.
 *
 * `--kills 30 --role intake|worker`: kill -9 of the gateway that hears, or of one in the middle of turns.
 */
const { values } = parseArgs({
  options: {
    gateways: { type: "string", default: "3" },
    rate: { type: "string", default: "167" },
    seconds: { type: "string", default: "30" },
    clients: { type: "string", default: "10000" },
    statements: { type: "boolean", default: false },
    warm: { type: "string", default: "50" },
    kills: { type: "string", default: "0" },
    role: { type: "string", default: "intake" },
  },
});
const [gateways, kills, rate, seconds, clients] = [
  Number(values.gateways),
  Number(values.kills),
  Number(values.rate),
  Number(values.seconds),
  Number(values.clients),
];
if (!(rate > 0 && seconds > 0 && clients > 0 && gateways >= 0)) {
  throw new Error("usage: npm run bench:cluster -- --gateways 3 --rate 167 --seconds 30");
}
process.env["PICOCLAW_UNDER_TEST"] = "binary";

const QUEUES = ["listener {port} 127.0.0.1", "allow_anonymous true", "max_queued_messages 0"];
/** Committed transactions, those of them that got a number because they write or lock, and WAL syncs. */
const STATS = `SELECT sum(xact_commit) || ' ' || pg_snapshot_xmax(pg_current_snapshot())
  || ' ' || (SELECT wal_sync FROM pg_stat_wal) FROM pg_stat_database`;
const STATEMENTS = `SELECT calls || ' calls, ' || round(total_exec_time) || ' ms, ' || rows || ' rows: '
  || left(regexp_replace(query, '\\s+', ' ', 'g'), 110) FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 25`;

const SERVER = [
  // Tests do without.
  "fsync = on",
  ...(values.statements ? ["shared_preload_libraries = 'pg_stat_statements'"] : []),
];

await using stack = new AsyncDisposableStack();
const folder = stack.use(await temporaryFolder());
const broker = stack.use(
  await startMosquitto({ lines: [...QUEUES, "max_inflight_messages 0", "set_tcp_nodelay true"] }),
);
const postgres = gateways > 0 ? stack.use(await startPostgres({ lines: SERVER })) : undefined;
const model = stack.use(await startModelServer({ forgets: true }));
model.otherwise(answers("Four words of answer."));
/** Of the gateway at that place, anew when it was killed. */
const running: Running[] = [];
const start = async (index: number): Promise<void> => {
  const gateway = stack.use(startPicoclaw(["gateway"], { home: join(folder.path, `${index}`) }));
  running[index] = gateway;
  await gateway.said('"msg":"gateway started"');
};
for (let index = 0; index < Math.max(1, gateways); index += 1) {
  const home = join(folder.path, `${index}`);
  const entry = {
    model_name: "m",
    model: "openai/m",
    api_base: model.base,
    api_keys: ["sk-bench"],
  };
  await writeConfig(
    home,
    quickConfig(
      broker.url,
      { qos: 1, limits: NO_LIMITS },
      {
        gateway: { name: `g${index}`, ...(postgres && { store: postgres.url() }) },
        agents: { defaults: { workspace: join(home, "w"), model_name: "m" } },
        model_list: [entry],
      },
    ),
  );
  await start(index);
}
if (kills > 0) {
  if (postgres === undefined || gateways < 2) throw new Error("--kills needs --gateways 2 or more");
  const role = values.role === "worker" ? "worker" : "intake";
  await measureKills({ kills, role, running, start, broker, postgres, model });
  await stack.disposeAsync();
  process.exit(0);
}

const devices = stack.use(await openDevices(broker));
/** Requests before the measured ones. */
const WARM = Number(values.warm);
let asked = 0;
/** Whether all requests are in the database, since when they are asked for. */
const isAccepted = async (): Promise<boolean> => {
  const rows = await postgres?.sql("SELECT count(*) FROM picoclaw.requests");
  return rows === undefined || Number(rows) >= asked + WARM;
};
const isQuiet = (): boolean => devices.open.size === 0;
for (let index = 0; index < WARM; index += 1) devices.ask(`warm-${index}`);
await until("the first requests are answered", isQuiet, 60_000);
devices.times.length = 0;

if (values.statements) await postgres?.sql("CREATE EXTENSION pg_stat_statements");
const before = { cpu: cpuOfAll(), memory: memoryOfAll(), stats: await stats() };
const began = performance.now();
while (performance.now() - began < seconds * 1000) {
  const due = ((performance.now() - began) / 1000) * rate;
  for (; asked < due; asked += 1) devices.ask(`c${Math.floor(Math.random() * clients)}`);
  await pause(2);
}
const askedFor = performance.now() - began;
const accepted = until("all requests are accepted", isAccepted, 120_000).then(
  () => `${((performance.now() - began) / 1000).toFixed(1)} s`,
  () => "more than 120 s",
);
let most = memoryOfAll();
await until(
  "all requests are answered",
  () => {
    most = memoryOfAll().map((each, index) => Math.max(each, most[index] ?? 0));
    return isQuiet();
  },
  120_000,
).catch(() => {});
const after = { cpu: cpuOfAll(), stats: await stats() };

const took = performance.now() - began;
const cpu = after.cpu - before.cpu;
console.log(
  `${asked} requests in ${(askedFor / 1000).toFixed(1)} s, all accepted after ${await accepted}, all answered after ${(took / 1000).toFixed(1)} s, ${devices.open.size} missing`,
);
console.log(summaryOf(devices.times));
const perRequest = (count: number): string => (count / asked).toFixed(2);
console.log(`${(cpu / asked).toFixed(2)} ms CPU a request, ${(cpu / took).toFixed(2)} cores`);
const [commits = 0, writes = 0, syncs = 0] = after.stats.map(
  (each, index) => each - (before.stats[index] ?? 0),
);
console.log(
  `${perRequest(commits)} transactions, ${perRequest(writes)} that write, and ${perRequest(syncs)} WAL syncs a request`,
);
console.log(
  `memory ${most.map((each, index) => `+${each - (before.memory[index] ?? 0)}`).join(", ")} MB`,
);

if (values.statements) console.log(await postgres?.sql(STATEMENTS));

async function stats(): Promise<number[]> {
  // The server's processes report what they did within a second.
  await pause(1500);
  return (await postgres?.sql(STATS))?.split(" ").map(Number) ?? [];
}

/** Milliseconds, of user and system. */
function cpuOfAll(): number {
  return running.reduce((total, { pid }) => {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /, "")
      .split(" ");
    return total + (Number(fields[11]) + Number(fields[12])) * 10;
  }, 0);
}

/** MB of each. */
function memoryOfAll(): number[] {
  return running.map(({ pid }) => {
    const text = readFileSync(`/proc/${pid}/status`, "utf8");
    return Math.round(Number(/VmRSS:\s+(\d+)/.exec(text)?.[1] ?? 0) / 1024);
  });
}
