import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runCut, runKilled, type FaultFigures } from "../support/flood-faults.ts";
import { needsMosquitto } from "../support/mosquitto.ts";
import { oncePerRuntimeInCi } from "../support/picoclaw.ts";

const inTurns = { skip: needsMosquitto.skip || oncePerRuntimeInCi.skip };
const STALL_MS = 9_000;

function assertHeard({ log, ...figures }: FaultFigures): void {
  const { asked, done } = figures;
  assert.equal(done, asked, `${JSON.stringify(figures)}\n${log.slice(-2000)}`);
}

it(
  "answers at QoS 2 whose acknowledgements and connection are lost are all heard",
  inTurns,
  async () => {
    const all = await Promise.all(([5, 4] as const).map((version) => runCut(version, STALL_MS)));
    for (const figures of all) {
      assertHeard(figures);
      // QoS 2 is once, whatever happened.
      assert.deepEqual(figures.ends, { ok: figures.asked });
    }
  },
);

describe("answers reach devices that subscribe a second after gateway and broker were killed", () => {
  for (const broker of ["embedded", "mosquitto"] as const) {
    it(`with ${broker}`, inTurns, async () => {
      assertHeard(await runKilled(broker, STALL_MS));
    });
  }
});
