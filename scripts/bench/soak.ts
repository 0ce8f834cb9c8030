import { connectDevice } from "../../test/support/bare-device.ts";
import { answers, startModelServer } from "../../test/support/model-server.ts";
import { startMosquitto } from "../../test/support/mosquitto.ts";
import { memoryOf } from "../../test/support/proc.ts";
import { temporaryFolder } from "../../test/support/temporary.ts";
import { picoclaw } from "./contender.ts";
import type { Figure } from "./figure.ts";
import { answersAtAll } from "./hop.ts";

const CLIENTS = 50;
const ASK_EVERY_MS = 20;
const SAMPLE_EVERY_MS = 5000;
/** The broker is killed in every such interval, and is back after a second. */
const OUTAGE_EVERY_MS = 120_000;
const OUTAGE_MS = 1000;

interface Sample {
  readonly hours: number;
  readonly mb: number;
}

/** Memory of a gateway under steady load with outages of its broker: its slope over the last half. */
export async function* soakFigures(minutes: number): AsyncGenerator<Figure> {
  const samples = await sample(minutes * 60_000);
  const lastHalf = samples.slice(Math.floor(samples.length / 2));
  // Samples of one minute hang together: as single ones they would make the confidence look better than it is.
  const { slope, error } = slopeOf(meansOf(lastHalf));
  yield {
    name: `RSS during ${minutes} minutes with an outage every ${OUTAGE_EVERY_MS / 60_000}`,
    unit: "MB",
    ours: lastHalf.map(({ mb }) => mb),
  };
  yield {
    name: "growth of RSS over the last half, with its 95 % confidence",
    unit: "MB an hour",
    ours: [slope - 1.96 * error, slope - 1.96 * error, slope, slope + 1.96 * error],
  };
}

async function sample(milliseconds: number): Promise<Sample[]> {
  await using broker = await startMosquitto();
  await using model = await startModelServer();
  model.otherwise(answers("It is late."));
  await using home = await temporaryFolder();
  const setup = { port: broker.port, qos: 1, version: 4 } as const;
  await using running = await picoclaw.start({ ...setup, home: home.path, model: model.base });
  const samples: Sample[] = [];
  const begun = performance.now();
  const passed = (): number => performance.now() - begun;
  let asked = 0;
  while (passed() < milliseconds) {
    using device = await connectDevice(picoclaw, setup);
    await answersAtAll(device, "/help");
    const until = Math.min(passed() + OUTAGE_EVERY_MS, milliseconds);
    let next = passed();
    while (passed() < until) {
      asked += 1;
      void device.ask(`client-${asked % CLIENTS}`, "How late is it?");
      if (passed() >= next) {
        const { rss } = await memoryOf(running.pid);
        samples.push({ hours: passed() / 3_600_000, mb: rss });
        next += SAMPLE_EVERY_MS;
      }
      await wait(ASK_EVERY_MS);
    }
    await broker.kill();
    await wait(OUTAGE_MS);
    await broker.start();
  }
  return samples;
}

/** The means between two outages. */
function meansOf(samples: readonly Sample[]): Sample[] {
  const blocks = Map.groupBy(samples, ({ hours }) =>
    Math.floor((hours * 3_600_000) / (OUTAGE_EVERY_MS + OUTAGE_MS)),
  );
  return [...blocks.values()].map((block) => ({
    hours: mean(block, "hours"),
    mb: mean(block, "mb"),
  }));
}

function mean(samples: readonly Sample[], key: keyof Sample): number {
  return samples.reduce((sum, each) => sum + each[key], 0) / samples.length;
}

/** Ordinary least squares: the slope, and its standard error. */
function slopeOf(samples: readonly Sample[]): { readonly slope: number; readonly error: number } {
  const [x, y] = [mean(samples, "hours"), mean(samples, "mb")];
  const spread = samples.reduce((sum, { hours }) => sum + (hours - x) ** 2, 0);
  const slope = samples.reduce((sum, { hours, mb }) => sum + (hours - x) * (mb - y), 0) / spread;
  const rest = samples.reduce((sum, { hours, mb }) => sum + (mb - y - slope * (hours - x)) ** 2, 0);
  return { slope, error: Math.sqrt(rest / (samples.length - 2) / spread) };
}

function wait(milliseconds: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, milliseconds));
}
