import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SILENT } from "../src/base/log.ts";
import { BOUNDS } from "../src/cli/conversations.ts";
import { openSqliteStore } from "../src/store/sqlite.ts";
import { startMosquitto } from "../test/support/mosquitto.ts";
import { picoclaw, quickConfig, startGateway, writeConfig } from "../test/support/picoclaw.ts";

/**
 * Measures what 1,000 stored conversations of 50 messages cost against 10: the time until the store answers,
 * the time until a compiled gateway is connected, and the memory of each process. Ends with 1 if the larger
 * store takes more than 300 ms, or 20 MB more than the smaller one.
 */
const SIZES = [10, 1000] as const;
const MESSAGES = 50;
const RUNS = 5;
const MOST_MS = 300;
const MOST_MORE_MB = 20;

interface Opened {
  readonly ms: number;
  /** Resident set. */
  readonly mb: number;
}

const OPTIONS = {
  owner: "bench",
  now: () => Date.now(),
  sole: true,
  log: SILENT,
  bounds: { ...BOUNDS, windowMs: 600_000 },
};

const [file] = process.argv.slice(2);
if (file !== undefined) await open(file);
else {
  await compare("opened", openElsewhere);
  process.env["PICOCLAW_UNDER_TEST"] = "binary";
  await using broker = await startMosquitto();
  await compare("the gateway is connected", (path) => startServing(path, broker.url));
}

async function compare(what: string, measure: (path: string) => Promise<Opened>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "picoclaw-bench-"));
  try {
    const results: Opened[] = [];
    for (const conversations of SIZES) {
      const path = join(folder, `${conversations}`, "workspace", "state", "picoclaw.db");
      await fill(path, conversations);
      const runs: Opened[] = [];
      for (let run = 0; run < RUNS; run += 1) runs.push(await measure(path));
      const opened = median(runs);
      results.push(opened);
      console.log(
        `${conversations} conversations of ${MESSAGES} messages: ${what} in ${opened.ms.toFixed(1)} ms, ${opened.mb.toFixed(1)} MB`,
      );
    }
    const [few, many] = results;
    if (few === undefined || many === undefined) throw new Error("nothing was measured");
    const more = many.mb - few.mb;
    console.log(
      `ratio: ${(many.ms / few.ms).toFixed(2)} in time, ${(many.mb / few.mb).toFixed(2)} in memory (${more.toFixed(1)} MB more)`,
    );
    if (many.ms > MOST_MS || more > MOST_MORE_MB) process.exitCode = 1;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A gateway of that home, until it is connected; and the most memory it had when it has answered. */
async function startServing(path: string, broker: string): Promise<Opened> {
  const home = join(path, "../../..");
  await writeConfig(home, quickConfig(broker));
  const begun = performance.now();
  await using gateway = await startGateway({ home });
  const ms = performance.now() - begun;
  const { code } = await picoclaw(["send", "device-7", "hello", "--broker", broker], { home });
  if (code !== 0) throw new Error(`send ended with ${code}`);
  const status = await readFile(`/proc/${gateway.pid}/status`, "utf8");
  return { ms, mb: Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024 };
}

async function fill(path: string, conversations: number): Promise<void> {
  const store = await openSqliteStore<{ role: string; text: string }>(path, OPTIONS);
  for (let turn = 0; turn < MESSAGES / 2; turn += 1) {
    const texts = [
      { role: "user", text: `How warm is it, ${turn}? ${"please ".repeat(10)}` },
      { role: "assistant", text: `It is ${turn} degrees. ${"That is fine. ".repeat(20)}` },
    ];
    const lanes = Array.from({ length: conversations }, (_, index) => `4:mqttdevice-${index}`);
    await Promise.all(lanes.map((lane) => store.append(lane, texts)));
  }
  await store.close();
}

/** In the process that is measured: opened, and asked once for one conversation. */
async function open(path: string): Promise<void> {
  const begun = performance.now();
  const store = await openSqliteStore<unknown>(path, OPTIONS);
  const { length } = await store.history("4:mqttdevice-7");
  const ms = performance.now() - begun;
  if (length !== MESSAGES) throw new Error(`${length} messages are there`);
  await store.purge();
  console.log(JSON.stringify({ ms, mb: process.memoryUsage.rss() / 2 ** 20 }));
  await store.close();
}

async function openElsewhere(path: string): Promise<Opened> {
  const { stdout, stderr, status } = spawnSync(process.execPath, [import.meta.filename, path], {
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(stderr);
  const { ms, mb }: Record<string, unknown> = JSON.parse(stdout);
  return { ms: Number(ms), mb: Number(mb) };
}

function median(all: readonly Opened[]): Opened {
  const middle = Math.floor(all.length / 2);
  const of = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[middle] ?? 0;
  return { ms: of(all.map(({ ms }) => ms)), mb: of(all.map(({ mb }) => mb)) };
}
