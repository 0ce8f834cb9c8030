import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { connect, connectAsync } from "mqtt";
import { runCut, runKilled, type FaultFigures } from "../support/flood-faults.ts";
import { openPlace } from "../support/flood-run.ts";
import { openAsker, requestOf } from "../support/flood.ts";
import { needsMosquitto } from "../support/mosquitto.ts";
import { oncePerRuntimeInCi } from "../support/picoclaw.ts";
import { until } from "../support/until.ts";

const inTurns = { skip: needsMosquitto.skip || oncePerRuntimeInCi.skip };
const STALL_MS = 30_000;

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

it("an answer that the device has not acknowledged to the built-in broker comes again after kill -9", async () => {
  await using place = await openPlace({ broker: "embedded", qos: 1, version: 4 });
  const first = await place.start();
  let heard = 0;
  const silent = await connectAsync(place.url.replace("tcp:", "mqtt:"), { reconnectPeriod: 0 });
  silent.on("error", () => {});
  // The library acknowledges a message when this calls back.
  silent.handleMessage = () => void (heard += 1);
  await silent.subscribeAsync("/picoclaw/assistant/hall/response", { qos: 1 });
  silent.publish("/picoclaw/assistant/hall/request", requestOf("r1"), { qos: 1 });
  await until("the device has the answer", () => heard === 1);
  first.kill("SIGKILL");
  await first.ended;
  await silent.endAsync(true);
  await place.start();
  await using device = await openAsker(place.url, { client: "hall", qos: 1, version: 4 });
  const again: string[] = [];
  device.client.on("message", (_topic, payload) => again.push(JSON.parse(String(payload)).id));
  await until("the device has it again", () => again.includes("r1"));
});

it("a request that reaches the built-in broker before the gateway is subscribed is answered", async () => {
  await using place = await openPlace({ broker: "embedded", qos: 1, version: 4 });
  const url = place.url.replace("tcp:", "mqtt:");
  // It is there first: it dials all the time.
  const eager = connect(url, { reconnectPeriod: 1, protocolVersion: 4 });
  eager.on("error", () => {});
  const heard: string[] = [];
  eager.on("message", (_topic, payload) => heard.push(JSON.parse(String(payload)).id));
  eager.subscribe("/picoclaw/assistant/hall/response", { qos: 1 });
  const ids = Array.from({ length: 10 }, (_, index) => `r${index}`);
  for (const id of ids) {
    eager.publish("/picoclaw/assistant/hall/request", requestOf(id), { qos: 1 });
  }
  await place.start();
  await until("all are answered", () => ids.every((id) => heard.includes(id)));
  await eager.endAsync(true);
});
