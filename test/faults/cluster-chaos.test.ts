import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { needsPostgres } from "../support/postgres.ts";
import { runClusterFaults } from "./cluster-faults.ts";
import { withFaults } from "./fault-harness.ts";
import { KITS } from "./kits.ts";

const SECONDS = Number(process.env["PICOCLAW_CHAOS_SECONDS"] ?? 60);
const seed = Number(process.env["PICOCLAW_CHAOS_SEED"] ?? process.env["PICOCLAW_SEED"] ?? 1);

describe("a storm of faults over three gateways of one store", () => {
  it(
    `leaves every promise kept (${SECONDS} s, seed ${seed})`,
    { skip: withFaults.skip || needsPostgres.skip, timeout: 300_000 },
    async () => {
      const { violations, ...figures } = await runClusterFaults({
        gateways: 3,
        seed,
        seconds: SECONDS,
        kits: KITS.slice(0, 1),
        log: () => {},
      });
      assert.deepEqual(violations, [], `seed ${seed}: ${JSON.stringify(figures)}`);
      assert.ok(figures.requests > SECONDS, `only ${figures.requests} requests were made`);
      assert.ok(figures.faults["answer of a kit"], "a kit got an answer");
    },
  );
});
