import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { answers, calls } from "../support/model-server.ts";
import { startPicoclaw } from "../support/picoclaw.ts";
import { until } from "../support/until.ts";
import { answerTo } from "./model.ts";
import { openWorld, POINTS, withFaults } from "./world.ts";

describe("a gateway that dies", () => {
  for (const point of POINTS) {
    for (const time of [1, 2]) {
      it(
        `at the point ${point}, time ${time}, loses nothing and runs nothing twice`,
        withFaults,
        async () => {
          await using world = await openWorld({ clients: ["a", "b"] });
          const first = await world.start(`${point}:${time}`);
          for (const client of ["a", "b", "a", "b"]) world.devices.ask(client);
          assert.equal((await first.ended).signal, "SIGKILL");
          await world.start();
          assert.deepEqual(await world.outcome(), []);
        },
      );
    }
  }

  it(
    "three times at one request gives it up with an error, and answers the next",
    withFaults,
    async () => {
      await using world = await openWorld({ clients: ["a"] });
      world.model.slow(60_000);
      for (let attempt = 1; attempt <= 3; attempt += 1) {
        await world.start();
        if (attempt === 1) world.devices.ask("a");
        await until(`attempt ${attempt} runs`, () => world.model.turns.length === attempt);
        await world.kill();
      }
      world.model.slow(50);
      await world.start();
      world.devices.ask("a");
      assert.deepEqual(await world.outcome(), []);
      const errors = world.devices.heard.flatMap(({ id, error }) => (error ? [[id, error]] : []));
      assert.deepEqual(errors, [["r0", "internal"]]);
      assert.equal(world.model.turns.length, 4);
    },
  );

  it(
    "after a tool ran: it is not run again, and the model reads its result",
    withFaults,
    async () => {
      await using world = await openWorld({ clients: ["a"] });
      const { server } = world.model;
      const call = calls({ id: "call-1", name: "device", arguments: '{"facts":["uptime"]}' });
      server.script(call, answers("It is up."));
      const first = await world.start("tool_stored");
      world.devices.ask("a");
      assert.equal((await first.ended).signal, "SIGKILL");
      await world.start();
      await until(
        "the answer is heard",
        () => world.devices.open().length === 0 && world.devices.heard.some(({ done }) => done),
      );
      const again = server.requests[1]?.body.messages ?? [];
      assert.deepEqual(
        again.map(({ role }) => role),
        ["system", "user", "assistant", "tool"],
      );
      assert.equal(again[2]?.tool_calls?.[0]?.id, "call-1");
      assert.match(again[3]?.content ?? "", /up/i);
      assert.match(again[0]?.content ?? "", /cut off/);
      assert.equal(server.requests.length, 2);
    },
  );

  it(
    "while a tool runs: the model is told that nobody knows how it ended",
    withFaults,
    async () => {
      await using world = await openWorld({ clients: ["a"] });
      const { server } = world.model;
      const call = calls({ id: "call-1", name: "device", arguments: '{"facts":["uptime"]}' });
      server.script(call, answers("It is up."));
      const first = await world.start("tool_ran");
      world.devices.ask("a");
      assert.equal((await first.ended).signal, "SIGKILL");
      await world.start();
      await until("the answer is heard", () => world.devices.heard.some(({ done }) => done));
      assert.match(server.requests[1]?.body.messages[3]?.content ?? "", /not known/);
    },
  );
});

describe("somebody who asks with send", () => {
  it("sees the answer begin anew after a crash, and is told so", withFaults, async () => {
    await using world = await openWorld({ clients: [] });
    world.model.slow(1000);
    await world.start();
    const broker = world.broker.url;
    await using send = startPicoclaw(
      ["send", "me", "me r1", "--broker", broker, "--agent", "assistant", "--json"],
      { home: join(world.home, "other") },
    );
    await send.said('"seq":3');
    await world.kill();
    await world.start();
    const { code, stdout } = await send.ended;
    const lines = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.equal(code, 0);
    const begun = lines.filter(({ restart }) => restart === true);
    assert.deepEqual(
      begun.map(({ seq }) => seq),
      [0, 0],
    );
    assert.equal(lines.at(-1).text, answerTo("me r1"));
  });
});

describe("a gateway that is told to stop", () => {
  it(
    "keeps what it cannot end for the next start, and tells nobody cancelled",
    withFaults,
    async () => {
      await using world = await openWorld({ clients: ["a", "b"] });
      world.model.slow(2000);
      const first = await world.start();
      for (const client of ["a", "b", "a"]) world.devices.ask(client);
      await until("two turns run", () => world.model.turns.length === 2);
      world.stops.push(performance.now());
      first.kill("SIGTERM");
      assert.equal((await first.ended).code, 0);
      world.devices.ask("b");
      world.model.slow(100);
      await world.start();
      assert.deepEqual(await world.outcome(), []);
    },
  );
});
