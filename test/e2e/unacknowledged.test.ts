import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { runUnacknowledged } from "../support/flood-faults.ts";
import { onceInCi } from "../support/picoclaw.ts";

/** What is not compiled compiles while it runs: it holds more. */
const MEBIBYTES = process.env["PICOCLAW_UNDER_TEST"] === "binary" ? 150 : 400;
/** Without a request that is stored or answered. */
const STALL_MS = 30_000;
/** Far more than the 15 s of a machine of its own: a stall is what fails. */
const once = { ...onceInCi, timeout: 180_000 };
/** So that it is the flood that is measured, and not as many turns. */
const limits = { requests_per_minute: 2, burst: 2, queued: 2 };

describe("a broker that sends 65,535 unacknowledged requests, whatever Receive Maximum says", () => {
  for (const [clients, version] of [
    [1, 5],
    [1000, 4],
  ] as const) {
    it(
      `of ${clients} clients on MQTT ${version === 5 ? "5" : "3.1.1"} hears of each`,
      once,
      async () => {
        const flood = { count: 65_535, clients, version, settings: { limits } };
        const { log, ...figures } = await runUnacknowledged(flood, STALL_MS);
        const all = `${JSON.stringify(figures)}\n${log.slice(-2000)}`;
        assert.equal(figures.done, 65_535, all);
        assert.equal(figures.unacknowledged, 0, all);
        const twice = Object.keys(figures.ends).filter((end) => end.includes("+"));
        assert.deepEqual(twice, [], all);
        assert.equal(figures.lost, 0, all);
        assert.equal(figures.bystander.answered, figures.bystander.asked, all);
        assert.ok(figures.grownMiB < MEBIBYTES, all);
      },
    );
  }
});
