import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { ASSISTANT, connectDevice } from "../../test/support/bare-device.ts";
import type { Device } from "../../test/support/bare-device.ts";
import { answers, startModelServer } from "../../test/support/model-server.ts";
import { startMosquitto } from "../../test/support/mosquitto.ts";
import { modelConfig, startGateway, writeConfig } from "../../test/support/picoclaw.ts";
import { memoryOf } from "../../test/support/proc.ts";
import { temporaryFolder } from "../../test/support/temporary.ts";
import type { Figure } from "./figure.ts";
import { fillStore } from "./store.ts";

const binary = join(import.meta.dirname, "../../dist/picoclaw");
const CLIENTS = 2_000;
/** As many requests wait for answers at a time as `send` has. */
const AT_ONCE = 16;
const LOOK_MS = 5;
const QUESTION = "How late is it?";

interface Sent {
  readonly seconds: number;
  /** Megabytes. */
  readonly peak: number;
  /** Seconds of CPU. */
  readonly cpu: number;
}

/** One `send` to the 2,000 clients that a pattern matches, next to the same requests of a client on a bare socket. */
export async function* fleetFigures(runs: number): AsyncGenerator<Figure> {
  await using broker = await startMosquitto();
  await using model = await startModelServer({ forgets: true });
  model.otherwise(answers("It is late."));
  await using home = await temporaryFolder();
  const workspace = join(home.path, "workspace");
  await writeConfig(home.path, modelConfig(broker.url, model.base, { workspace }));
  await fillStore(home.path, CLIENTS);
  await using gateway = await startGateway({ home: home.path });
  using device = await connectDevice(ASSISTANT, { port: broker.port, qos: 1, version: 4 });
  const [all, one, bare]: [Sent[], Sent[], number[]] = [[], [], []];
  for (let run = 0; run <= runs; run += 1) {
    const seconds = await askAllOf(device);
    const sent = [
      await send(home.path, "device-*", CLIENTS),
      await send(home.path, "device-1,", 1),
    ];
    // The first run only warms up.
    if (run === 0) continue;
    bare.push(seconds);
    all.push(...sent.slice(0, 1));
    one.push(...sent.slice(1));
  }
  if (gateway.stderr().includes('"level":"error"')) throw new Error(gateway.stderr());
  const what = `\`send\` to ${CLIENTS.toLocaleString("en")} clients`;
  const seconds = all.map((sent) => sent.seconds);
  yield { name: what, unit: "s", ours: seconds, reference: { name: "bare socket", values: bare } };
  for (const [name, unit, key] of [
    ["CPU of", "s", "cpu"],
    ["peak RSS of", "MB", "peak"],
  ] as const) {
    const values = one.map((sent) => sent[key]);
    const ours = all.map((sent) => sent[key]);
    yield { name: `${name} ${what}`, unit, ours, reference: { name: "to one", values } };
  }
}

async function askAllOf(device: Device): Promise<number> {
  const names = Array.from({ length: CLIENTS }, (_, index) => `device-${index}`).values();
  const begun = performance.now();
  const worker = async (): Promise<void> => {
    for (const name of names) await device.ask(name, QUESTION);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return (performance.now() - begun) / 1000;
}

/** Throws if not so many answer. */
async function send(home: string, clients: string, count: number): Promise<Sent> {
  const begun = performance.now();
  const env = { PICOCLAW_HOME: home, PATH: process.env["PATH"] };
  const child = Bun.spawn([binary, "send", clients, QUESTION, "--json"], {
    env,
    stderr: "inherit",
  });
  const output = new Response(child.stdout).text();
  // The kernel's own figure counts the process that started it, too.
  let peak = 0;
  while (child.exitCode === null) {
    peak = (await memoryOf(child.pid).catch(() => undefined))?.peak || peak;
    await Promise.race([child.exited, pause(LOOK_MS)]);
  }
  const seconds = (performance.now() - begun) / 1000;
  const { answered } = JSON.parse((await output).trimEnd().split("\n").at(-1) ?? "{}");
  if (answered !== count) throw new Error(`${answered} of ${count} answered`);
  const usage = child.resourceUsage();
  if (usage === undefined) throw new Error("the system does not say what a process used");
  return { seconds, peak, cpu: Number(usage.cpuTime.total) / 1e6 };
}
