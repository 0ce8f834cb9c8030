import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runLarge } from "../support/flood-faults.ts";
import { runFlood, type FloodCase, type FloodFigures } from "../support/flood-run.ts";
import { needsMosquitto } from "../support/mosquitto.ts";
import { oncePerRuntimeInCi } from "../support/picoclaw.ts";

const inTurns = { skip: needsMosquitto.skip || oncePerRuntimeInCi.skip };
const STALL_MS = 30_000;
/** A bystander's request waits behind what the broker had queued before it, and not for the end of the flood. */
const BYSTANDER_MS = 5_000;
/** What is not compiled compiles while it runs: it holds as much more. */
const FROM_SOURCE = process.env["PICOCLAW_UNDER_TEST"] === "binary" ? 1 : 2.5;

function assertHeld({ log, ...figures }: FloodFigures, mebibytes: number): void {
  const { asked, done, ends, bystander, lost, grownMiB, seconds } = figures;
  const all = `${JSON.stringify(figures)}\n${log.slice(-2000)}`;
  assert.equal(done, asked, `requests without an end: ${all}`);
  const twice = Object.keys(ends).filter((end) => end.includes("+"));
  assert.deepEqual(twice, [], `requests that ended more than once: ${all}`);
  assert.ok(bystander.asked > 0, all);
  assert.equal(bystander.answered, bystander.asked, `a bystander heard nothing: ${all}`);
  assert.ok(
    bystander.longestMs < Math.max(BYSTANDER_MS, seconds * 800),
    `a bystander waited: ${all}`,
  );
  assert.equal(lost, 0, `a connection was lost: ${all}`);
  assert.ok(grownMiB < mebibytes * FROM_SOURCE, `memory grew: ${all}`);
}

const LARGE = { count: 110, bytes: 250 * 1024, qos: 1 } as const;

const FLOODS: readonly (readonly [name: string, flood: FloodCase, mebibytes: number])[] = [
  ["5,000 at QoS 1", { count: 5000, qos: 1, version: 5, broker: "raised" }, 60],
  ["5,000 at QoS 1", { count: 5000, qos: 1, version: 4, broker: "raised", away: true }, 60],
  ["900 at QoS 1", { count: 900, qos: 1, version: 4, broker: "default" }, 60],
  ["900 at QoS 1", { count: 900, qos: 1, version: 5, broker: "inflight0", away: true }, 60],
  ["150 at QoS 2", { count: 150, qos: 2, version: 5, broker: "default" }, 40],
  ["150 at QoS 2", { count: 150, qos: 2, version: 5, broker: "default", away: true }, 40],
  ["150 at QoS 2", { count: 150, qos: 2, version: 4, broker: "inflight0", away: true }, 40],
  ["110 of 250 KB", { ...LARGE, version: 5, broker: "default" }, 80],
  ["110 of 250 KB", { ...LARGE, version: 4, broker: "inflight0", away: true }, 80],
  ["200 at QoS 0", { count: 200, qos: 0, version: 5, broker: "default" }, 40],
  ["200 at QoS 0", { count: 200, qos: 0, version: 4, broker: "default" }, 40],
  ["300 at QoS 1", { count: 300, qos: 1, version: 4, broker: "embedded" }, 60],
  ["600 at QoS 2", { count: 600, qos: 2, version: 4, broker: "embedded" }, 60],
];

describe("a flood of one client ends, request by request, and nobody else waits for it", () => {
  for (const [name, flood, mebibytes] of FLOODS) {
    const { version, broker, away = false } = flood;
    const when = away ? "while the gateway is away" : "while it runs";
    it(
      `${name} on ${version === 5 ? "MQTT 5" : "MQTT 3.1.1"}, broker ${broker}, ${when}`,
      inTurns,
      async () => assertHeld(await runFlood(flood, STALL_MS), mebibytes),
    );
  }
});

it("a fleet of 1,000 clients that ask once each hear one answer each", inTurns, async () => {
  const fleet = { count: 1000, clients: 1000, qos: 1, version: 5, broker: "raised" } as const;
  const figures = await runFlood(fleet, STALL_MS);
  assertHeld(figures, 60);
  assert.deepEqual(figures.ends, { ok: 1000 });
});

it("a request is told that it is too large up to what the broker takes", inTurns, async () => {
  const { asked, done, ends } = await runLarge(STALL_MS);
  assert.equal(done, asked, JSON.stringify(ends));
});
