import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { connectDevice } from "../../test/support/bare-device.ts";
import type { Device } from "../../test/support/bare-device.ts";
import { answers, calls, startModelServer } from "../../test/support/model-server.ts";
import type { ReceivedRequest } from "../../test/support/model-server.ts";
import { startMosquitto } from "../../test/support/mosquitto.ts";
import { cpuOf, writtenBy } from "../../test/support/proc.ts";
import { temporaryFolder } from "../../test/support/temporary.ts";
import { picoclaw } from "./contender.ts";
import type { Contender } from "./contender.ts";
import { quantile } from "./figure.ts";
import type { Figure } from "./figure.ts";

const BLOCK = 100;
const WARM_UP = 300;
const PERCENTILES = [50, 95, 99] as const;
/** Without the last, each packet behind an unacknowledged one waits for 40 ms. */
const LINES = ["listener {port} 127.0.0.1", "allow_anonymous true", "set_tcp_nodelay true"];

interface Blocks {
  readonly times: number[][];
  /** Milliseconds of CPU and kilobytes written to the disk, a request. */
  readonly cpu: number[];
  readonly written: number[];
}

/** From the publish of a question to the end of its answer, one at a time, and what each costs. */
export async function* hopFigures(
  contenders: readonly Contender[],
  runs: number,
): AsyncGenerator<Figure> {
  for (const qos of [0, 1] as const)
    for (const version of [4, 5] as const)
      for (const withModel of [false, true])
        yield* figuresOf(contenders, { qos, version, withModel }, runs);
  yield await toolsFigure(runs);
}

/** A turn with three tool calls, four questions to the model, beside one with none. */
async function toolsFigure(runs: number): Promise<Figure> {
  await using broker = await startMosquitto({ lines: LINES });
  await using model = await startModelServer();
  await using home = await temporaryFolder();
  const setup = { port: broker.port, qos: 1, version: 4 } as const;
  await using running = await picoclaw.start({ ...setup, home: home.path, model: model.base });
  using device = await connectDevice(picoclaw, setup);
  const answer = answers("It is late.");
  const call = calls({ name: "device", arguments: '{"facts":["time"]}' });
  model.otherwise(answer);
  await answersAtAll(device, "How late is it?");
  const costs: [number[], number[]] = [[], []];
  for (let run = 0; run <= runs; run += 1)
    for (const [index, script] of [[call, call, call, answer], [answer]].entries()) {
      const before = await cpuOf(running.pid);
      for (let turn = 0; turn < BLOCK; turn += 1) {
        model.script(...script);
        await device.ask("bench", "How late is it?");
      }
      if (run > 0) costs[index]?.push(((await cpuOf(running.pid)) - before) / BLOCK);
    }
  const [ours, values] = costs;
  const name = "CPU of a turn with three tool calls, QoS 1";
  return { name, unit: "ms", ours, reference: { name: "a turn without", values } };
}

interface Kind {
  readonly qos: 0 | 1;
  readonly version: 4 | 5;
  readonly withModel: boolean;
}

async function* figuresOf(
  contenders: readonly Contender[],
  kind: Kind,
  runs: number,
): AsyncGenerator<Figure> {
  const measured = await blocksOf(contenders, kind, runs);
  const [ours, others] = [measured[0]?.blocks, measured.slice(1)];
  if (ours === undefined) return;
  const name = `${kind.withModel ? "a turn" : "`/help`"}, QoS ${kind.qos}, MQTT ${kind.version === 4 ? "3.1.1" : "5"}`;
  const figure = (what: string, unit: string, pick: (blocks: Blocks) => number[]): Figure => {
    const series = others.map(({ contender, blocks }) => ({
      name: contender.name,
      values: pick(blocks),
    }));
    return {
      name: `${what} of ${name}`,
      unit,
      ours: pick(ours),
      reference: series.find((one) => one.name === "C"),
      go: series.find((one) => one.name === "Go"),
    };
  };
  for (const percentile of PERCENTILES) {
    const share = percentile / 100;
    yield figure(`p${percentile}`, "ms", ({ times }) => times.map((all) => quantile(all, share)));
  }
  if (kind.version === 5) return;
  yield figure("CPU", "ms", ({ cpu }) => cpu);
  if (kind.qos === 0) return;
  yield { name: `written to disk by ${name}`, unit: "KB", ours: ours.written };
}

async function blocksOf(
  contenders: readonly Contender[],
  { qos, version, withModel }: Kind,
  runs: number,
): Promise<{ contender: Contender; blocks: Blocks }[]> {
  await using broker = await startMosquitto({ lines: LINES });
  await using model = await startModelServer();
  model.otherwise(answers("It is late."));
  await using cleanup = new AsyncDisposableStack();
  const setup = { port: broker.port, qos, version, model: withModel ? model.base : undefined };
  const all = [];
  for (const contender of contenders) {
    const home = cleanup.use(await temporaryFolder());
    const question = await saveQuestion(model.requests.at(-1), home.path);
    const running = cleanup.use(await contender.start({ ...setup, home: home.path, question }));
    const device = cleanup.use(await connectDevice(contender, setup));
    const text = withModel ? "How late is it?" : contender.command;
    await answersAtAll(device, text);
    for (let turn = 0; turn < WARM_UP; turn += 1) await device.ask("bench", text);
    const blocks: Blocks = { times: [], cpu: [], written: [] };
    all.push({ contender, running, device, text, blocks });
  }
  for (let run = 0; run < runs; run += 1)
    for (const { running, device, text, blocks } of all) {
      const [cpu, written] = [await cpuOf(running.pid), await writtenBy(running.pid)];
      const times: number[] = [];
      for (let turn = 0; turn < BLOCK; turn += 1) times.push(await device.ask("bench", text));
      blocks.times.push(times);
      blocks.cpu.push(((await cpuOf(running.pid)) - cpu) / BLOCK);
      blocks.written.push(((await writtenBy(running.pid)) - written) / BLOCK);
    }
  return all;
}

/** Writes what was asked last, so that the next contender asks the same; undefined if nothing was asked. */
async function saveQuestion(
  last: ReceivedRequest | undefined,
  folder: string,
): Promise<string | undefined> {
  if (last === undefined) return undefined;
  const file = join(folder, "question.json");
  await writeFile(file, JSON.stringify(last.body));
  return file;
}

const ASK_AGAIN_MS = 100;

/** Asks until the first answer is there: what is published before the subscription is lost. */
export async function answersAtAll(device: Device, text: string): Promise<void> {
  for (;;) {
    const late = new Promise((resolve) => void setTimeout(resolve, ASK_AGAIN_MS, "late"));
    if ((await Promise.race([device.ask("first", text), late])) !== "late") return;
  }
}
