import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Message } from "../../src/agent/contract.ts";
import { Failure } from "../../src/base/failure.ts";
import { RuntimeJobs } from "../../src/cli/runtime/jobs.ts";
import { SYSTEM_CLOCK } from "../../src/gateway/clock.ts";
import type { Push } from "../../src/gateway/contract.ts";
import { createMemoryStore } from "../../src/store/sqlite.ts";
import { storeFacts } from "../gateway/setup.ts";
import { MANY, newJob } from "../store/job-contract.ts";
import { agentDefaults } from "../support/agent-config.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

describe("the jobs of a gateway", () => {
  it("are done once the store can be read, which it could not at the start", async () => {
    await using folder = await temporaryFolder();
    const opened = createMemoryStore<Message>(storeFacts(SYSTEM_CLOCK, "test"));
    await (await opened.jobs()).addJob(newJob("a", { nextAt: 1 }), MANY);
    let reads = 0;
    const store = {
      ...opened,
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
    await jobs.close();
    await opened.close();
  });
});
