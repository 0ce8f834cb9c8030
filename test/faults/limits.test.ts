import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, it } from "node:test";
import { usageIn } from "../../src/gateway/usage/report.ts";
import type { Counter } from "../../src/store/contract/counters.ts";
import { readCounters } from "../../src/store/sqlite/shared-access.ts";
import { openFaultHarness, POINTS, withFaults } from "./fault-harness.ts";

describe("a gateway that dies", () => {
  for (const point of POINTS) {
    it(
      `at the point ${point} has counted every request that it had accepted`,
      withFaults,
      async () => {
        await using harness = await openFaultHarness({
          clients: ["a", "b"],
          settings: {
            limits: { requests_per_minute: 6000, burst: 1000, tokens_per_day: 1_000_000 },
          },
        });
        const first = await harness.start(`${point}:2`);
        for (const client of ["a", "b", "a", "b"]) harness.devices.ask(client);
        assert.equal((await first.ended).signal, "SIGKILL");
        const file = join(harness.home, "workspace", "state", "picoclaw.db");
        const accepted = requestsIn(file);
        const counted = await readCounters(file, requestsOf);
        assert.ok(counted >= accepted, `${counted} counted of ${accepted}`);
        await harness.start();
        assert.deepEqual(await harness.outcome(), []);
        assert.ok((await readCounters(file, requestsOf)) >= 4);
      },
    );
  }
});

function requestsOf(meters: Iterable<Counter>): number {
  const { clients } = usageIn(meters, { epoch: Date.now(), heaviest: 9 });
  return clients.reduce((sum, { requests }) => sum + requests, 0);
}

function requestsIn(file: string): number {
  const db = new DatabaseSync(file, { readOnly: true });
  try {
    return Number(db.prepare("SELECT count(*) AS n FROM requests").get()?.["n"]);
  } finally {
    db.close();
  }
}
