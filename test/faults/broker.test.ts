import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { until } from "../support/until.ts";
import { openWorld, withFaults, type World } from "./world.ts";

const CLIENTS = ["a", "b", "c"];

function askAll({ devices }: World, times: number): void {
  for (let round = 0; round < times; round += 1) {
    for (const client of CLIENTS) devices.ask(client);
  }
}

const turnsOf = (world: World, count: number): Promise<void> =>
  until(`${count} turns began`, () => world.model.turns.length >= count);

describe("nothing is lost and nothing runs twice", () => {
  it("when the broker is killed in the middle", withFaults, async () => {
    await using world = await openWorld({ clients: CLIENTS });
    await world.start();
    askAll(world, 4);
    await turnsOf(world, 5);
    await world.killBroker();
    askAll(world, 1);
    assert.deepEqual(await world.outcome(), []);
  });

  it("when the broker hangs for longer than the keep alive", withFaults, async () => {
    await using world = await openWorld({ clients: CLIENTS });
    await world.start();
    askAll(world, 3);
    await turnsOf(world, 4);
    await world.broker.kill("SIGSTOP");
    await world.gateway().said(/connection to the broker was lost|Keepalive timeout|keep alive/i);
    await world.broker.kill("SIGCONT");
    assert.deepEqual(await world.outcome(), []);
  });

  it("when the way to the broker is cut again and again", withFaults, async () => {
    await using world = await openWorld({ clients: CLIENTS });
    await world.start();
    for (let round = 1; round <= 2; round += 1) {
      askAll(world, 3);
      await turnsOf(world, 9 * round - 5);
      const before = world.gateway().stderr().split('"msg":"connected"').length;
      world.proxy.reset();
      await until("connected again", () => {
        return world.gateway().stderr().split('"msg":"connected"').length > before;
      });
    }
    assert.deepEqual(await world.outcome(), []);
  });

  it("when everything on the way vanishes, with the connection open", withFaults, async () => {
    await using world = await openWorld({ clients: CLIENTS });
    await world.start();
    askAll(world, 3);
    await turnsOf(world, 4);
    world.proxy.blackhole(true);
    await world.gateway().said(/Keepalive timeout|was lost|keep alive/i);
    world.proxy.blackhole(false);
    assert.deepEqual(await world.outcome(), []);
  });

  it("when gateway and broker are killed together", withFaults, async () => {
    await using world = await openWorld({ clients: CLIENTS });
    await world.start();
    askAll(world, 3);
    await turnsOf(world, 4);
    await Promise.all([world.kill(), world.killBroker()]);
    await world.start();
    assert.deepEqual(await world.outcome(), []);
  });

  it("when requests come while the gateway is away", withFaults, async () => {
    await using world = await openWorld({ clients: CLIENTS });
    await world.start();
    askAll(world, 1);
    assert.deepEqual(await world.outcome(), []);
    world.gateway().kill("SIGTERM");
    await world.gateway().ended;
    askAll(world, 3);
    await until("the broker has them", () => world.devices.unacknowledged() === 0);
    assert.equal(world.devices.open().length, 9);
    await world.start();
    assert.deepEqual(await world.outcome(), []);
  });
});

describe("the promise in numbers", () => {
  it(
    "holds for 120 requests of 6 clients over 3 kills of the gateway and one of the broker",
    withFaults,
    async () => {
      const clients = ["a", "b", "c", "d", "e", "f"];
      await using world = await openWorld({ clients });
      await world.start();
      for (let index = 0; index < 120; index += 1) world.devices.ask(clients[index % 6] ?? "");
      for (const share of [20, 50, 80]) {
        await turnsOf(world, share);
        await world.kill();
        await world.start();
        if (share !== 50) continue;
        await turnsOf(world, 65);
        await world.killBroker();
      }
      assert.deepEqual(await world.outcome(), []);
      const { turns } = world.model;
      const finals = world.devices.heard.filter(({ done }) => done).length;
      process.stdout.write(
        `120 requests: ${turns.length} turns, ${turns.length - 120} of them run again after a kill, ${finals} final parts heard`,
      );
      assert.ok(turns.length <= 120 + 3 * 6);
    },
  );
});
