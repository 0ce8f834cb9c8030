import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SILENT } from "../../src/base/log.ts";
import { createRedactor } from "../../src/base/redaction/redactor.ts";
import { createConfirmations } from "../../src/cli/runtime/confirmations.ts";
import { SYSTEM_CLOCK } from "../../src/gateway/clock.ts";
import type { Push } from "../../src/gateway/contract.ts";
import { createMemoryStore } from "../../src/store/sqlite.ts";
import { storeFacts } from "../gateway/setup.ts";

const HOUR_MS = 3_600_000;

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
      channel: "mqtt",
      client: "desk",
      tool: "exec",
      arguments: "{}",
      by: ["phone"],
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
