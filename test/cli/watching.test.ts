import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SILENT } from "../../src/base/log.ts";
import { createWatching } from "../../src/cli/runtime/watching.ts";
import { SYSTEM_CLOCK } from "../../src/gateway/clock.ts";
import type { Push } from "../../src/gateway/contract.ts";
import type { FeedListener } from "../../src/mqtt/topic-feed/topic-feed.ts";
import { createMemoryStore } from "../../src/store/sqlite/store.ts";
import { storeFacts } from "../gateway/setup.ts";
import { agentConfig } from "../support/agent-config.ts";
import { until } from "../support/until.ts";

const HOUR_MS = 3_600_000;

describe("watched topics of gateways that share a store", () => {
  it("have cooldowns by the clock of the store, whatever that of the machine is", async () => {
    const opened = createMemoryStore<never>(storeFacts(SYSTEM_CLOCK, "test"));
    const epoch = Date.now() + 1_000 * HOUR_MS;
    const store = { ...opened, clock: () => Promise.resolve({ epoch, utcOffsetMs: 0 }) };
    const listeners: FeedListener[] = [];
    const feed = {
      problem: () => undefined,
      listen(listener: FeedListener) {
        listeners.push(listener);
        return { add: () => Promise.resolve(), remove() {}, close() {} };
      },
    };
    const pushed: Push[] = [];
    const watching = createWatching({
      feeds: { of: () => Promise.resolve(feed) },
      state: { store },
      push(push) {
        pushed.push(push);
        return Promise.resolve("accepted");
      },
      log: SILENT,
    });
    const { tools, ...rest } = agentConfig([]);
    const watch = {
      topic: "t",
      written: "",
      prompt: "p",
      client: "c",
      channel: "mqtt",
      cooldownMs: HOUR_MS,
    };
    watching.apply({ ...rest, tools: { ...tools, watch: [watch] } });
    await until("it listens", () => listeners.length > 0);
    listeners[0]?.onMessage({ topic: "t", payload: Buffer.from("1"), retained: false });
    await until("it begins a turn", () => pushed.length > 0);
    const step = Number(/-(\d+)$/.exec(pushed[0]?.id ?? "")?.[1]);
    assert.ok(step - Math.floor(epoch / HOUR_MS) <= 1 && step >= Math.floor(epoch / HOUR_MS));
    await watching.close();
    await opened.close();
  });
});
