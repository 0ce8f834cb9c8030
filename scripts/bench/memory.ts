import { spawnSync } from "node:child_process";
import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { askAll, connectDevice } from "../../test/support/bare-device.ts";
import { createMemoryGroup } from "../../test/support/memory-group.ts";
import { answers, startModelServer } from "../../test/support/model-server.ts";
import { startMosquitto } from "../../test/support/mosquitto.ts";
import { startClient } from "../../test/support/picoclaw.ts";
import { forgetPeak, memoryOf } from "../../test/support/proc.ts";
import type { Memory } from "../../test/support/proc.ts";
import { temporaryFolder } from "../../test/support/temporary.ts";
import { until } from "../../test/support/until.ts";
import { picoclaw } from "./contender.ts";
import type { Contender } from "./contender.ts";
import type { Figure } from "./figure.ts";
import { answersAtAll } from "./hop.ts";
import { fillStore } from "./store.ts";

const root = join(import.meta.dirname, "../..");
const SETTLE_MS = 3000;
const LATER_MS = 27_000;
const KEYS = [
  ["RSS", "rss"],
  ["PSS", "pss"],
  ["private dirty", "dirty"],
  ["peak RSS", "peak"],
] as const;

/** Memory of a gateway that waits, and after requests of eight clients. */
export async function* memoryFigures(
  contenders: readonly Contender[],
  requests: readonly number[],
): AsyncGenerator<Figure> {
  const measured = [];
  for (const contender of contenders)
    measured.push({ contender, memory: await memoriesOf(contender, requests) });
  const [ours, others] = [measured[0]?.memory ?? [], measured.slice(1)];
  for (const [index, count] of [0, ...requests].entries()) {
    const when = count === 0 ? "idle" : `after ${count.toLocaleString("en")} requests`;
    yield* figuresOf(
      when,
      ours[index],
      (name) => others.find(({ contender }) => contender.name === name)?.memory[index],
    );
  }
  const later = ours.at(-1);
  yield* figuresOf("half a minute later", later, () => undefined);
  const [idle] = await memoriesOf(picoclaw, [], { conversations: 10_000 });
  yield* figuresOf("idle, 10,000 conversations", idle, () => undefined);
  const small = await memoriesOf(picoclaw, requests.slice(0, 1), { env: INTERPRETED });
  yield* figuresOf("idle, with less than 512 MiB", small[0], () => undefined);
  const first = requests[0]?.toLocaleString("en");
  yield* figuresOf(`after ${first} requests, with less than 512 MiB`, small[1], () => undefined);
  yield* groupFigures();
  yield* libraryFigures(ours[0]);
}

/** What the gateway chooses where it has less than 512 MiB. */
const INTERPRETED = { BUN_JSC_useJIT: "0" };
const GROUP_MB = 48;
const PER_SECOND = 300;
const GROUP_SECONDS = 20;

/** Turns a second within a control group of 48 MiB, where 300 are asked for each second. */
async function* groupFigures(): AsyncGenerator<Figure> {
  using group = createMemoryGroup(GROUP_MB * 2 ** 20);
  if (group === undefined) return;
  await using broker = await startMosquitto();
  await using model = await startModelServer();
  model.otherwise(answers("It is late."));
  await using home = await temporaryFolder();
  const setup = { port: broker.port, qos: 1, version: 4 } as const;
  const { within } = group;
  const options = { ...setup, home: home.path, model: model.base, within, turns: PER_SECOND };
  await using gateway = await picoclaw.start(options);
  using device = await connectDevice(picoclaw, setup);
  await answersAtAll(device, picoclaw.command);
  const begun = performance.now();
  const answered: Promise<number>[] = [];
  for (let index = 0; index < PER_SECOND * GROUP_SECONDS; index += 1) {
    answered.push(device.ask(`client-${index}`, "How late is it?"));
    const ahead = (index / PER_SECOND) * 1000 - (performance.now() - begun);
    if (ahead > 5) await new Promise((resolve) => void setTimeout(resolve, ahead));
  }
  const ended = gateway.ended.then(({ signal }) => {
    throw new Error(`the gateway ended by ${signal}`);
  });
  await Promise.race([Promise.all(answered), ended]);
  const seconds = (performance.now() - begun) / 1000;
  yield {
    name: `turns within ${GROUP_MB} MiB, ${PER_SECOND} asked, a second`,
    unit: "a second",
    ours: [answered.length / seconds],
    reference: { name: "asked", values: [PER_SECOND] },
  };
  yield { name: `most memory within ${GROUP_MB} MiB`, unit: "MB", ours: [group.peak() / 2 ** 20] };
}

function* figuresOf(
  when: string,
  ours: Memory | undefined,
  beside: (name: string) => Memory | undefined,
): Generator<Figure> {
  if (ours === undefined) return;
  for (const [what, key] of KEYS) {
    const series = (name: string): Figure["reference"] => {
      const memory = beside(name);
      return memory && { name, values: [memory[key]] };
    };
    yield {
      name: `${what} ${when}`,
      unit: "MB",
      ours: [ours[key]],
      reference: series("C"),
      go: series("Go"),
    };
  }
}

const LIBRARY_NAME = "MQTT.js alone";
const LIBRARY = `
import { connect } from "mqtt";
const client = connect(process.argv[2]);
client.on("connect", () => client.subscribe("a"));
`;

/** The gateway beside a program that only subscribes with the same library. */
async function* libraryFigures(idle: Memory | undefined): AsyncGenerator<Figure> {
  await using broker = await startMosquitto();
  await using scratch = await temporaryFolder();
  const [source, program] = [join(scratch.path, "library.ts"), join(scratch.path, "library")];
  writeFileSync(source, LIBRARY);
  symlinkSync(join(root, "node_modules"), join(scratch.path, "node_modules"));
  const flags = ["build", source, "--compile", "--minify", "--bytecode", "--format=esm"];
  const { status } = spawnSync(process.execPath, [...flags, `--outfile=${program}`]);
  if (status !== 0) throw new Error("bun build failed");
  // Pages that are not on the disk yet would count as the program's own.
  spawnSync("sync");
  await using running = startClient(program, [broker.url]);
  await until("it is subscribed", () => broker.log().includes("SUBACK"));
  const { rss, dirty } = await settled(running.pid);
  if (idle === undefined) return;
  yield {
    name: "RSS idle",
    unit: "MB",
    ours: [idle.rss],
    reference: { name: LIBRARY_NAME, values: [rss] },
  };
  yield {
    name: "private dirty idle",
    unit: "MB",
    ours: [idle.dirty],
    reference: { name: LIBRARY_NAME, values: [dirty] },
  };
}

async function memoriesOf(
  contender: Contender,
  requests: readonly number[],
  { conversations = 0, env = {} }: { conversations?: number; env?: Record<string, string> } = {},
): Promise<Memory[]> {
  await using broker = await startMosquitto();
  await using model = await startModelServer();
  model.otherwise(answers("It is late."));
  await using home = await temporaryFolder();
  if (conversations > 0) await fillStore(home.path, conversations);
  const setup = { port: broker.port, qos: 1, version: 4 } as const;
  await using running = await contender.start({
    ...setup,
    home: home.path,
    model: model.base,
    env,
  });
  using device = await connectDevice(contender, setup);
  await answersAtAll(device, contender.command);
  const memories = [await settled(running.pid)];
  let done = 0;
  for (const count of requests) {
    await askAll(device, count - done, 8);
    done = count;
    memories.push(await settled(running.pid));
  }
  if (done === 0) return memories;
  await forgetPeak(running.pid);
  await new Promise((resolve) => void setTimeout(resolve, LATER_MS));
  memories.push(await settled(running.pid));
  return memories;
}

async function settled(pid: number): Promise<Memory> {
  await new Promise((resolve) => void setTimeout(resolve, SETTLE_MS));
  return memoryOf(pid);
}
