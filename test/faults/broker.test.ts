import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { until } from "../support/until.ts";
import { openFaultHarness, withFaults, type FaultHarness } from "./fault-harness.ts";

const CLIENTS = ["a", "b", "c"];

function askAll({ devices }: FaultHarness, times: number): void {
  for (let round = 0; round < times; round += 1) {
    for (const client of CLIENTS) devices.ask(client);
  }
}

const turnsOf = (harness: FaultHarness, count: number): Promise<void> =>
  until(`${count} turns began`, () => harness.model.turns.length >= count);

describe("nothing is lost and nothing runs twice", () => {
  it("when the broker is killed in the middle", withFaults, async () => {
    await using harness = await openFaultHarness({ clients: CLIENTS });
    await harness.start();
    askAll(harness, 4);
    await turnsOf(harness, 5);
    await harness.killBroker();
    askAll(harness, 1);
    assert.deepEqual(await harness.outcome(), []);
  });

  it("when the broker hangs for longer than the keep alive", withFaults, async () => {
    await using harness = await openFaultHarness({ clients: CLIENTS });
    await harness.start();
    askAll(harness, 3);
    await turnsOf(harness, 4);
    await harness.broker.kill("SIGSTOP");
    await harness.gateway().said(/connection to the broker was lost|Keepalive timeout|keep alive/i);
    await harness.broker.kill("SIGCONT");
    assert.deepEqual(await harness.outcome(), []);
  });

  it("when the way to the broker is cut again and again", withFaults, async () => {
    await using harness = await openFaultHarness({ clients: CLIENTS });
    await harness.start();
    for (let round = 1; round <= 2; round += 1) {
      askAll(harness, 3);
      await turnsOf(harness, 9 * round - 5);
      const before = harness.gateway().stderr().split('"msg":"connected"').length;
      harness.proxy.reset();
      await until("connected again", () => {
        return harness.gateway().stderr().split('"msg":"connected"').length > before;
      });
    }
    assert.deepEqual(await harness.outcome(), []);
  });

  it("when everything on the way vanishes, with the connection open", withFaults, async () => {
    await using harness = await openFaultHarness({ clients: CLIENTS });
    await harness.start();
    askAll(harness, 3);
    await turnsOf(harness, 4);
    harness.proxy.blackhole(true);
    await harness.gateway().said(/Keepalive timeout|was lost|keep alive/i);
    harness.proxy.blackhole(false);
    assert.deepEqual(await harness.outcome(), []);
  });

  it("when gateway and broker are killed together", withFaults, async () => {
    await using harness = await openFaultHarness({ clients: CLIENTS });
    await harness.start();
    askAll(harness, 3);
    await turnsOf(harness, 4);
    await Promise.all([harness.kill(), harness.killBroker()]);
    await harness.start();
    assert.deepEqual(await harness.outcome(), []);
  });

  it("when requests come while the gateway is away", withFaults, async () => {
    await using harness = await openFaultHarness({ clients: CLIENTS });
    await harness.start();
    askAll(harness, 1);
    assert.deepEqual(await harness.outcome(), []);
    harness.gateway().kill("SIGTERM");
    await harness.gateway().ended;
    askAll(harness, 3);
    await until("the broker has them", () => harness.devices.unacknowledged() === 0);
    assert.equal(harness.devices.open().length, 9);
    await harness.start();
    assert.deepEqual(await harness.outcome(), []);
  });
});

describe("the promise in numbers", () => {
  it(
    "holds for 120 requests of 6 clients over 3 kills of the gateway and one of the broker",
    withFaults,
    async () => {
      const clients = ["a", "b", "c", "d", "e", "f"];
      await using harness = await openFaultHarness({ clients });
      await harness.start();
      for (let index = 0; index < 120; index += 1) harness.devices.ask(clients[index % 6] ?? "");
      for (const share of [20, 50, 80]) {
        await turnsOf(harness, share);
        await harness.kill();
        await harness.start();
        if (share !== 50) continue;
        await turnsOf(harness, 65);
        await harness.killBroker();
      }
      assert.deepEqual(await harness.outcome(), []);
      const { turns } = harness.model;
      const finals = harness.devices.heard.filter(({ done }) => done).length;
      process.stdout.write(
        `120 requests: ${turns.length} turns, ${turns.length - 120} of them run again after a kill, ${finals} final parts heard`,
      );
      assert.ok(turns.length <= 120 + 3 * 6);
    },
  );
});
