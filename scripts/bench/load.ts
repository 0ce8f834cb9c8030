import { askAll, connectDevice } from "../../test/support/bare-device.ts";
import { answers, startModelServer } from "../../test/support/model-server.ts";
import type { Behaviour } from "../../test/support/model-server.ts";
import { startMosquitto } from "../../test/support/mosquitto.ts";
import { memoryOf } from "../../test/support/proc.ts";
import type { Memory } from "../../test/support/proc.ts";
import { temporaryFolder } from "../../test/support/temporary.ts";
import { picoclaw } from "./contender.ts";
import type { Contender } from "./contender.ts";
import type { Figure } from "./figure.ts";
import { answersAtAll } from "./hop.ts";
import { fillStore } from "./store.ts";

const CLIENTS = 1000;
const MODEL_MS = 500;
const SETTLE_MS = 3000;
const KEYS = [
  ["RSS", "rss"],
  ["PSS", "pss"],
  ["private dirty", "dirty"],
  ["peak RSS", "peak"],
] as const;

/** Many clients at once, against a model that takes half a second. */
export async function* crowdFigures(runs: number): AsyncGenerator<Figure> {
  await using broker = await startMosquitto();
  await using model = await startModelServer();
  const prompt = answers("It is late.");
  model.otherwise(prompt);
  await using home = await temporaryFolder();
  const setup = { port: broker.port, qos: 1, version: 4 } as const;
  const options = { ...setup, home: home.path, model: model.base, turns: CLIENTS };
  await using gateway = await picoclaw.start(options);
  using device = await connectDevice(picoclaw, setup);
  await answersAtAll(device, "How late is it?");
  model.otherwise(after(MODEL_MS, prompt));
  const ours: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    const begun = performance.now();
    const asked = Array.from({ length: CLIENTS }, (_, index) =>
      device.ask(`client-${index}`, "How late is it?"),
    );
    await Promise.all(asked);
    ours.push(performance.now() - begun);
  }
  if (gateway.stderr().includes('"level":"error"')) throw new Error(gateway.stderr());
  yield {
    name: `${CLIENTS} clients at once, model of ${MODEL_MS} ms`,
    unit: "ms",
    ours,
    reference: { name: "ideal", values: [MODEL_MS] },
  };
}

function after(milliseconds: number, behaviour: Behaviour): Behaviour {
  return async (request, response) => {
    await new Promise((resolve) => void setTimeout(resolve, milliseconds));
    await behaviour(request, response);
  };
}

/** Memory of a gateway that waits, and after requests of eight clients. */
export async function* memoryFigures(
  contenders: readonly Contender[],
  requests: readonly number[],
): AsyncGenerator<Figure> {
  const measured = [];
  for (const contender of contenders)
    measured.push({ contender, memory: await memoriesOf(contender, requests, 0) });
  const [ours, others] = [measured[0]?.memory ?? [], measured.slice(1)];
  for (const [index, count] of [0, ...requests].entries()) {
    const when = count === 0 ? "idle" : `after ${count.toLocaleString("en")} requests`;
    yield* figuresOf(
      when,
      ours[index],
      (name) => others.find(({ contender }) => contender.name === name)?.memory[index],
    );
  }
  const [idle] = await memoriesOf(picoclaw, [], 10_000);
  yield* figuresOf("idle, 10,000 conversations", idle, () => undefined);
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

async function memoriesOf(
  contender: Contender,
  requests: readonly number[],
  conversations: number,
): Promise<Memory[]> {
  await using broker = await startMosquitto();
  await using model = await startModelServer();
  model.otherwise(answers("It is late."));
  await using home = await temporaryFolder();
  if (conversations > 0) await fillStore(home.path, conversations);
  const setup = { port: broker.port, qos: 1, version: 4 } as const;
  await using running = await contender.start({ ...setup, home: home.path, model: model.base });
  using device = await connectDevice(contender, setup);
  await answersAtAll(device, contender.command);
  const memories = [await settled(running.pid)];
  let done = 0;
  for (const count of requests) {
    await askAll(device, count - done, 8);
    done = count;
    memories.push(await settled(running.pid));
  }
  return memories;
}

async function settled(pid: number): Promise<Memory> {
  await new Promise((resolve) => void setTimeout(resolve, SETTLE_MS));
  return memoryOf(pid);
}
