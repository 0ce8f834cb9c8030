import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { memoryOf } from "../support/proc.ts";
import { until } from "../support/until.ts";
import { openFaultHarness, withFaults, type FaultHarness } from "./fault-harness.ts";

/** How each request ended, by its id. */
function endsOf({ devices }: FaultHarness): Map<string, string | undefined> {
  return new Map(devices.heard.filter(({ done }) => done).map(({ id, error }) => [id, error]));
}

const TURN_MS = 200;
const WARM = 1000;
const BATCH = 25;

describe("a flood", () => {
  it(
    "of 5,000 requests from one client costs little memory, and nobody else waits for it",
    withFaults,
    async () => {
      // As many as the other clients may have waiting, so that some get busy.
      const limits = { requests_per_minute: 0, burst: 0, queued: 32 };
      await using harness = await openFaultHarness({
        clients: ["flood", "other"],
        settings: { limits },
        defaults: { max_parallel_turns: 1 },
      });
      const gateway = await harness.start();
      // The first work costs memory for code and buffers, which is not the flood's.
      harness.model.slow(0);
      for (let index = 1; index <= WARM; index += 1) {
        harness.devices.ask("other");
        if (index % BATCH > 0) continue;
        await until("they are answered", () => endsOf(harness).size === index);
      }
      assert.deepEqual(await harness.outcome(), []);
      harness.model.slow(TURN_MS);
      const { rss: before } = await memoryOf(gateway.pid);

      for (let index = 0; index < 5000; index += 1) harness.devices.ask("flood");
      await until("the flood is under way", () => harness.devices.heard.length > 1000);
      const asked = performance.now();
      harness.devices.ask("other");
      await until("the other is answered", () => {
        return (
          harness.devices.heard.filter(({ client, done }) => client === "other" && done).length ===
          WARM + 1
        );
      });
      const waited = performance.now() - asked;
      let most = 0;
      const isOver = async (): Promise<boolean> => {
        await pause(250);
        most = Math.max(most, (await memoryOf(gateway.pid)).rss);
        return endsOf(harness).size === WARM + 5001;
      };
      await until("every request is answered or told busy", isOver, 60_000);
      const grown = most - before;
      const busy = [...endsOf(harness).values()].filter((error) => error === "busy").length;
      process.stdout.write(
        `5,000 at once: ${busy} told busy, ${harness.model.turns.length - WARM - 1} answered, memory grew by ${grown.toFixed(1)} MiB, another client waited ${(waited / TURN_MS).toFixed(1)} turns`,
      );
      assert.ok(grown < 40, `memory grew by ${grown} MiB`);
      // Its own turn, the running one, and the messages; behind the 32 that wait it would be 33 turns.
      assert.ok(waited < 8 * TURN_MS, `waited ${waited} ms`);
      const unknown = harness.devices.heard.filter(
        ({ error }) => error !== undefined && error !== "busy",
      );
      assert.deepEqual(unknown, []);
    },
  );
});
