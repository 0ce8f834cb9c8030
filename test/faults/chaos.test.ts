import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { withFaults } from "./fault-harness.ts";
import { KITS } from "./kits.ts";
import { runRandomFaults } from "./random-faults.ts";

const SECONDS = Number(process.env["PICOCLAW_CHAOS_SECONDS"] ?? 45);
const seed = Number(process.env["PICOCLAW_CHAOS_SEED"] ?? process.env["PICOCLAW_SEED"] ?? 1);

describe("a storm of faults", () => {
  it(
    `leaves every promise kept (${SECONDS} s, seed ${seed})`,
    { ...withFaults, timeout: 240_000 },
    async () => {
      const { violations, ...figures } = await runRandomFaults({
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
