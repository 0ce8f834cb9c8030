import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import mqtt from "mqtt";
import { answers, calls, startModelServer } from "../test/support/model-server.ts";
import type { ModelServer } from "../test/support/model-server.ts";
import { startMosquitto } from "../test/support/mosquitto.ts";
import { quickConfig, startGateway, writeConfig } from "../test/support/picoclaw.ts";

/**
 * What a turn with three tool calls costs the gateway in CPU time (its own and its kernel's), as a
 * ratio to a turn of one question without a tool, in the same process. The tool tells the time.
 */
const TURNS = 300;
const WARM_UP = 100;
const RUNS = Number(process.argv[2] ?? 3);
const TICK_MS = 10;
process.env["PICOCLAW_UNDER_TEST"] = "binary";

const home = await mkdtemp(join(tmpdir(), "picoclaw-bench-"));
await using model = await startModelServer();
await using broker = await startMosquitto();
await writeConfig(home, configFor(broker.url));
const gateway = await startGateway({ home });
const device = await mqtt.connectAsync(broker.url);
const topic = "/picoclaw/assistant/bench";
await device.subscribeAsync(`${topic}/response`);

const costs = { plain: [] as number[], tools: [] as number[] };
await turns(WARM_UP, plainTurn);
await turns(WARM_UP, turnWithTools);
for (let run = 0; run < RUNS; run += 1) {
  costs.plain.push(await cpuOf(() => turns(TURNS, plainTurn)));
  costs.tools.push(await cpuOf(() => turns(TURNS, turnWithTools)));
}
const [plain, tools] = [median(costs.plain), median(costs.tools)];
console.log(`a turn without a tool: ${plain.toFixed(2)} ms of CPU`);
console.log(
  `a turn with three tool calls, four questions to the model: ${tools.toFixed(2)} ms of CPU, ratio ${(tools / plain).toFixed(2)}`,
);
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
  // A conversation of 20 messages goes with every question; none of the time goes into summaries.
  const defaults = {
    workspace: join(home, "workspace"),
    model_name: "m",
    summarize_message_threshold: 0,
    summarize_token_percent: 0,
  };
  return quickConfig(url, { qos: 1, limits }, { agents: { defaults }, model_list: [entry] });
}

function plainTurn(server: ModelServer): void {
  server.script(answers("It is late."));
}

function turnWithTools(server: ModelServer): void {
  const call = { name: "device", arguments: '{"facts":["time"]}' };
  server.script(calls(call), calls(call), calls(call), answers("It is late."));
}

async function turns(count: number, script: (server: ModelServer) => void): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) {
    script(model);
    const done = Promise.withResolvers<void>();
    const hear = (_: string, payload: Buffer): void => {
      if (payload.includes('"done":true')) done.resolve();
    };
    device.on("message", hear);
    await device.publishAsync(`${topic}/request`, '{"text":"How late is it?"}', { qos: 0 });
    await done.promise;
    device.off("message", hear);
  }
}

/** Milliseconds of CPU that the gateway used for one turn. */
async function cpuOf(work: () => Promise<void>): Promise<number> {
  const before = await ticks();
  await work();
  return ((await ticks()) - before) * (TICK_MS / TURNS);
}

/** Of the gateway and its threads: proc_pid_stat(5), utime and stime. */
async function ticks(): Promise<number> {
  const stat = await readFile(`/proc/${gateway.pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
