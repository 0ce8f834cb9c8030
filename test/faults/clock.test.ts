import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { until } from "../support/until.ts";
import { openFaultHarness, withFaults, type FaultHarness } from "./fault-harness.ts";

const LIBRARY = ["x86_64", "aarch64"]
  .map((machine) => `/usr/lib/${machine}-linux-gnu/faketime/libfaketime.so.1`)
  .find((file) => existsSync(file));
const DAY_MS = 86_400_000;
/** Skipped on a machine without libfaketime; CI installs it. */
const withClock = { skip: withFaults.skip || (LIBRARY === undefined && !process.env["CI"]) };

/** Gateways of this harness read their wall clock through a file; timers are not affected. */
async function bendTime(harness: FaultHarness): Promise<(offset: string) => Promise<void>> {
  const file = join(harness.home, "time");
  Object.assign(harness.env, {
    LD_PRELOAD: LIBRARY,
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_NO_CACHE: "1",
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
  });
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
