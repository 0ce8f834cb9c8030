import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { clockEnvironment, needsFaketime } from "../support/faketime.ts";
import { until } from "../support/until.ts";
import { openFaultHarness, withFaults, type FaultHarness } from "./fault-harness.ts";

const DAY_MS = 86_400_000;
const withClock = { skip: withFaults.skip || needsFaketime.skip };

/** Gateways of this harness read their wall clock through a file; timers are not affected. */
async function bendTime(harness: FaultHarness): Promise<(offset: string) => Promise<void>> {
  const file = join(harness.home, "time");
  const clock = clockEnvironment({ FAKETIME_TIMESTAMP_FILE: file, FAKETIME_NO_CACHE: "1" });
  Object.assign(harness.env, clock);
  const set = (offset: string): Promise<void> => writeFile(file, offset);
  await set("+0s");
  return set;
}

describe("a wall clock that jumps", () => {
  for (const [first, second] of [
    ["+30d", "-30d"],
    ["-30d", "+30d"],
  ] as const) {
    it(
      `${first}, then ${second}, while requests wait, run and are resumed, loses nothing`,
      withClock,
      async () => {
        await using harness = await openFaultHarness({ clients: ["a", "b"] });
        const setTime = await bendTime(harness);
        const ask = (): void =>
          ["a", "b", "a", "b"].forEach((client) => harness.devices.ask(client));
        await harness.start();
        ask();
        await until("turns run", () => harness.model.turns.length >= 2);
        await setTime(first);
        ask();
        await until("more turns run", () => harness.model.turns.length >= 5);
        await harness.kill();
        await setTime(second);
        await harness.start();
        ask();
        assert.deepEqual(await harness.outcome(), []);
        const [, shown = ""] = /"time":"([^"]+)"/.exec(harness.gateway().stderr()) ?? [];
        assert.ok(
          Math.abs(Date.parse(shown) - Date.now()) > 29 * DAY_MS,
          `the clock said ${shown}`,
        );
      },
    );
  }
});
