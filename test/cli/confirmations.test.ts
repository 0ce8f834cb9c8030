import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { SILENT } from "../../src/base/log.ts";
import { createRedactor } from "../../src/base/redaction/redactor.ts";
import { createConfirmations } from "../../src/cli/runtime/confirmations.ts";
import { SYSTEM_CLOCK } from "../../src/gateway/clock.ts";
import type { Push } from "../../src/gateway/contract.ts";
import { createMemoryStore } from "../../src/store/sqlite/store.ts";
import { storeFacts } from "../gateway/setup.ts";
import { toolProfile, toolSettings } from "../support/agent-config.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { until } from "../support/until.ts";

const HOUR_MS = 3_600_000;

const PROFILE = toolProfile({ confirm: { by: ["phone"], tools: [], minutes: 10 } });
const CALL = { channel: "mqtt", client: "desk", tool: "exec", arguments: "{}", by: ["phone"] };

describe("confirmations that a former process left", () => {
  it("are looked at as soon as the store can be read, and never after the end", async () => {
    const opened = createMemoryStore<never>(storeFacts(SYSTEM_CLOCK, "test"));
    await (
      await opened.confirmations()
    ).add(
      { ...CALL, id: "abcdef", question: "?", until: Date.now() - 1 },
      { ofClient: 1, ofAll: 1 },
    );
    let [failures, reads] = [1, 0];
    const store = {
      async confirmations() {
        reads += 1;
        if (failures-- > 0) throw new Failure("unreachable", "the database is away");
        return opened.confirmations();
      },
    };
    const log = createMemoryLog();
    const pushed: Push[] = [];
    const push = async (wanted: Push) => {
      pushed.push(wanted);
      return "accepted" as const;
    };
    const options = { store, push, redactor: createRedactor([]), log };
    const confirmations = createConfirmations(options);
    await confirmations.start({ tools: toolSettings({ profiles: [PROFILE] }) });
    assert.equal(log.lines.length, 1);
    await until("the client learns that nobody decided", () => pushed.length === 1);
    assert.deepEqual([pushed[0]?.id, pushed[0]?.client], ["confirmed-abcdef", "desk"]);
    confirmations.close();

    [failures, reads] = [9, 0];
    const closed = createConfirmations(options);
    await closed.start({ tools: toolSettings({ profiles: [PROFILE] }) });
    closed.close();
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    assert.equal(reads, 1);
    await opened.close();
  });
});

describe("confirmations of gateways that share a store", () => {
  it("wait by the clock of the store, whatever that of the machine is", async () => {
    const opened = createMemoryStore<never>(storeFacts(SYSTEM_CLOCK, "test"));
    const epoch = Date.now() + 1_000 * HOUR_MS;
    const store = { ...opened, clock: () => Promise.resolve({ epoch, utcOffsetMs: 0 }) };
    const pushed: Push[] = [];
    const confirmations = createConfirmations({
      store,
      push(push) {
        pushed.push(push);
        return Promise.resolve("accepted");
      },
      redactor: createRedactor([]),
      log: SILENT,
    });
    await confirmations.ask({
      ...CALL,
      milliseconds: HOUR_MS,
      question: "?",
    });
    const [waiting] = await confirmations.waitingFor({ channel: "mqtt", client: "phone" });
    const left = (waiting?.until ?? 0) - epoch;
    assert.ok(left >= HOUR_MS && left < 2 * HOUR_MS, `${left} ms`);
    // The gateway compares this with the clock of the machine.
    const kept = (pushed[0]?.expiresAt ?? 0) - Date.now();
    assert.ok(kept > 0 && kept <= HOUR_MS + 1_000, `${kept} ms`);
    confirmations.close();
    await opened.close();
  });
});
