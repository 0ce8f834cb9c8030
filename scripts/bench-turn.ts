import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import mqtt from "mqtt";
import { answers, calls, startModelServer } from "../test/support/model-server.ts";
import type { Behaviour } from "../test/support/model-server.ts";
import { startMosquitto } from "../test/support/mosquitto.ts";
import { quickConfig, startGateway, writeConfig } from "../test/support/picoclaw.ts";

/**
 * What one request costs the gateway, with a model that answers at once: its CPU time, and what it writes
 * to the disk. A conversation of 100 messages goes with every question.
 */
const RUNS = Number(process.argv[2] ?? 3);
const REQUESTS = 500;
const WARM_UP = 100;
const TICK_MS = 10;
process.env["PICOCLAW_UNDER_TEST"] = "binary";

interface Kind {
  readonly name: string;
  readonly qos: 0 | 1;
  readonly text: string;
  /** What the model does. */
  readonly script: readonly Behaviour[];
}

interface Cost {
  /** Milliseconds, of user and kernel. */
  readonly cpu: number;
  readonly bytes: number;
}

const call = calls({ name: "device", arguments: '{"facts":["time"]}' });
const answer = answers("It is late.");
const kinds: readonly Kind[] = [
  { name: "/help, QoS 0", qos: 0, text: "/help", script: [] },
  { name: "/help, QoS 1", qos: 1, text: "/help", script: [] },
  { name: "a turn, QoS 0", qos: 0, text: "How late is it?", script: [answer] },
  { name: "a turn, QoS 1", qos: 1, text: "How late is it?", script: [answer] },
  {
    name: "a turn with three tool calls, QoS 1",
    qos: 1,
    text: "How late is it?",
    script: [call, call, call, answer],
  },
];

const home = await mkdtemp(join(tmpdir(), "picoclaw-bench-"));
await using model = await startModelServer();
// Nagle's algorithm would hold each answer behind a PUBACK for 44 ms.
await using broker = await startMosquitto({
  lines: ["listener {port} 127.0.0.1", "allow_anonymous true", "set_tcp_nodelay true"],
});
await writeConfig(home, configFor(broker.url));
const gateway = await startGateway({ home });
const device = await mqtt.connectAsync(broker.url);
const topic = "/picoclaw/assistant/bench";
await device.subscribeAsync(`${topic}/response`, { qos: 1 });

let sent = 0;
const costs = new Map<Kind, Cost[]>(kinds.map((kind) => [kind, []]));
for (const kind of kinds) await ask(WARM_UP, kind);
for (let run = 0; run < RUNS; run += 1) {
  for (const [kind, measured] of costs) measured.push(await costOf(kind));
}
for (const [{ name }, measured] of costs) {
  const cpu = median(measured.map((cost) => cost.cpu)).toFixed(2);
  const kilobytes = (median(measured.map((cost) => cost.bytes)) / 1024).toFixed(0);
  console.log(`${name}: ${cpu} ms of CPU, ${kilobytes} KiB written`);
}
await device.endAsync();
await gateway[Symbol.asyncDispose]();
await rm(home, { recursive: true, force: true });

function configFor(url: string): object {
  const limits = { requests_per_minute: 0, burst: 0, queued: 0 };
  const entry = {
    model_name: "m",
    model: "openai/m",
    api_base: model.base,
    api_keys: ["sk-bench"],
  };
  // None of the time goes into summaries.
  const defaults = {
    workspace: join(home, "workspace"),
    model_name: "m",
    summarize_message_threshold: 0,
    summarize_token_percent: 0,
  };
  return quickConfig(url, { qos: 1, limits }, { agents: { defaults }, model_list: [entry] });
}

/** Asks one question after the other. A request is as durable as its message: at QoS 0 it is not. */
async function ask(count: number, { qos, text, script }: Kind): Promise<void> {
  for (let asked = 0; asked < count; asked += 1) {
    model.script(...script);
    const done = Promise.withResolvers<void>();
    const hear = (_: string, payload: Buffer): void => {
      if (payload.includes('"done":true')) done.resolve();
    };
    device.on("message", hear);
    sent += 1;
    await device.publishAsync(`${topic}/request`, JSON.stringify({ text, id: `r-${sent}` }), {
      qos,
    });
    await done.promise;
    device.off("message", hear);
  }
}

async function costOf(kind: Kind): Promise<Cost> {
  const [ticks, bytes] = [await ticksOf(), await bytesWritten()];
  await ask(REQUESTS, kind);
  return {
    cpu: ((await ticksOf()) - ticks) * (TICK_MS / REQUESTS),
    bytes: ((await bytesWritten()) - bytes) / REQUESTS,
  };
}

/** Of the gateway and its threads: proc_pid_stat(5), utime and stime. */
async function ticksOf(): Promise<number> {
  const stat = await readFile(`/proc/${gateway.pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

async function bytesWritten(): Promise<number> {
  const io = await readFile(`/proc/${gateway.pid}/io`, "utf8");
  return Number(/^write_bytes: (\d+)$/m.exec(io)?.[1]);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
