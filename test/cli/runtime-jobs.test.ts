import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Message } from "../../src/agent/contract.ts";
import { Failure } from "../../src/base/failure.ts";
import { RuntimeJobs } from "../../src/cli/runtime/jobs.ts";
import { SYSTEM_CLOCK } from "../../src/gateway/clock.ts";
import type { Push } from "../../src/gateway/contract.ts";
import { createMemoryStore } from "../../src/store/sqlite/store.ts";
import { storeFacts } from "../gateway/setup.ts";
import { MANY, newJob } from "../store/job-contract.ts";
import { agentDefaults } from "../support/agent-config.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const DAY_MS = 24 * 60 * 60_000;

describe("the jobs of a gateway", () => {
  it("are done once the store can be read, which it could not at the start", async () => {
    await using folder = await temporaryFolder();
    const opened = createMemoryStore<Message>(storeFacts(SYSTEM_CLOCK, "test"));
    await (await opened.jobs()).addJob(newJob("a", { nextAt: 1 }), MANY);
    const epoch = Date.now() + 1_000 * DAY_MS;
    let reads = 0;
    const store = {
      ...opened,
      clock: () => Promise.resolve({ epoch, utcOffsetMs: 0 }),
      hasJobs: () => Promise.resolve(true),
      jobs() {
        reads += 1;
        if (reads === 1) return Promise.reject(new Failure("busy", "away"));
        return opened.jobs();
      },
    };
    const log = createMemoryLog();
    const config = {
      agents: { defaults: agentDefaults({ workspace: folder.path }) },
      heartbeat: { enabled: false, interval: 30 },
    };
    const jobs = new RuntimeJobs({ config, channels: [], store, isShared: false, log });
    const pushed: Push[] = [];
    const push = async (wanted: Push) => void pushed.push(wanted);
    await jobs.start({ push, runCommand: () => Promise.resolve(undefined) });
    await until("it is pushed", () => pushed.length === 1, 30_000);
    assert.equal(
      log.lines.filter(({ message }) => message === "jobs cannot be done yet").length,
      1,
    );
    // The clock of the store is another one than that of the machine, by which the gateway gives up a push.
    const kept = (pushed[0]?.expiresAt ?? 0) - Date.now();
    assert.ok(kept > 0 && kept <= DAY_MS + 1_000, `${kept} ms`);
    await jobs.close();
    await opened.close();
  });
});
