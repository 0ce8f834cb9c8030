import { mkdtemp, rm } from "node:fs/promises";
import { Session } from "node:inspector/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import process from "node:process";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import mqtt from "mqtt";
import { startModelServer, streamsSlowly } from "../test/support/model-server.ts";
import { startMosquitto } from "../test/support/mosquitto.ts";
import { modelConfig, writeConfig } from "../test/support/picoclaw.ts";

/**
 * One warm QoS 1 request through the whole program in this process, with a real broker, store and
 * scripted model: prints the files and functions of src that it enters, by folder, and how many async
 * generators a token crosses. `--functions` lists the functions as well. Needs V8's coverage, so it runs
 * under Deno: `npm run walk`.
 */
const WARM_UP = 20;
const SETTLE_MS = 300;
/** The agent reads files of its workspace with each turn while they are newer than this. */
const NEW_FILES_MS = 2500;
const src = join(dirname(fileURLToPath(import.meta.url)), "../src");

const listsFunctions = process.argv.includes("--functions");
let nexts = 0;
countGeneratorSteps();

const home = await mkdtemp(join(tmpdir(), "picoclaw-walk-"));
const model = await startModelServer();
const broker = await startMosquitto();
const workspace = join(home, "workspace");
const gateway = { port: 0, log_level: "error" };
await writeConfig(home, modelConfig(broker.url, model.base, { workspace, gateway }));
process.env["PICOCLAW_HOME"] = home;
process.argv.splice(2, Number.POSITIVE_INFINITY, "gateway");
const device = await mqtt.connectAsync(broker.url, { protocolVersion: 5 });
const topic = "/picoclaw/assistant/walker";
await device.subscribeAsync([`${topic}/response`, "/picoclaw/assistant/status"]);
const online = heard((_, payload) => payload === "online");
void import("../src/main.ts");
await online;

const session = new Session();
session.connect();
await session.post("Profiler.enable");
await session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: false });
for (let turn = 0; turn < WARM_UP; turn += 1) await ask(5);
await wait(NEW_FILES_MS);
const [few, many] = [await stepsOf(10), await stepsOf(60)];
await session.post("Profiler.takePreciseCoverage");
await ask(5);
await wait(SETTLE_MS);
const { result } = await session.post("Profiler.takePreciseCoverage");
report(result);
console.log(`async generators a token crosses: ${((many - few) / 50).toFixed(1)}`);

await device.endAsync();
await model.close();
await broker[Symbol.asyncDispose]();
await rm(home, { recursive: true, force: true });
process.exit(0);

/** Resolves with the first message that the device receives and that matches. */
async function heard(matches: (topic: string, payload: string) => boolean): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const hear = (at: string, payload: Buffer): void => {
    if (matches(at, payload.toString())) resolve();
  };
  device.on("message", hear);
  await promise;
  device.off("message", hear);
}

/** One request; the model streams its answer in so many tokens, each in a chunk of its own. */
async function ask(tokens: number): Promise<void> {
  model.script(streamsSlowly(tokens, 4 * tokens));
  const answered = heard((_, payload) => payload.includes('"done":true'));
  await device.publishAsync(`${topic}/request`, '{"text":"How late is it?"}', { qos: 1 });
  await answered;
}

async function stepsOf(tokens: number): Promise<number> {
  await wait(SETTLE_MS);
  const before = nexts;
  await ask(tokens);
  return nexts - before;
}

/** Each token is one step of every generator that it crosses. */
function countGeneratorSteps(): void {
  const shared = Object.getPrototypeOf(async function* () {}.prototype);
  const next = shared.next;
  shared.next = function counted(...values: unknown[]): unknown {
    nexts += 1;
    return Reflect.apply(next, this, values);
  };
}

interface Script {
  readonly url: string;
  readonly functions: readonly {
    readonly functionName: string;
    readonly ranges: readonly { readonly count: number }[];
  }[];
}

function report(scripts: readonly Script[]): void {
  const folders = new Map<string, { files: number; functions: number }>();
  let [files, functions] = [0, 0];
  for (const { url, functions: found } of scripts) {
    const path = url.startsWith("file:") ? relative(src, fileURLToPath(url)) : "..";
    // Coverage without blocks names a function that was not called with a count of 0.
    const entered = found.filter(({ ranges }) => (ranges[0]?.count ?? 0) > 0);
    if (path.startsWith("..") || entered.length === 0) continue;
    files += 1;
    functions += entered.length;
    const folder = folders.get(dirname(path)) ?? { files: 0, functions: 0 };
    folder.files += 1;
    folder.functions += entered.length;
    folders.set(dirname(path), folder);
    if (!listsFunctions) continue;
    console.log(`  ${path}: ${entered.map(({ functionName }) => functionName || "…").join(" ")}`);
  }
  for (const [folder, counts] of [...folders].toSorted(([a], [b]) => a.localeCompare(b))) {
    console.log(`${folder.padEnd(28)} ${counts.files} files, ${counts.functions} functions`);
  }
  console.log(`one warm QoS 1 request: ${files} files, ${functions} functions`);
}
