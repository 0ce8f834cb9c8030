import { connectDevice } from "../../test/support/bare-device.ts";
import { answers, startModelServer } from "../../test/support/model-server.ts";
import type { Behaviour } from "../../test/support/model-server.ts";
import { startMosquitto } from "../../test/support/mosquitto.ts";
import { temporaryFolder } from "../../test/support/temporary.ts";
import { picoclaw } from "./contender.ts";
import type { Figure } from "./figure.ts";
import { answersAtAll } from "./hop.ts";

const CLIENTS = 1000;
const MODEL_MS = 500;
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
