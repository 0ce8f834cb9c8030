import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { answers, calls, dialogueOf } from "../support/model-server.ts";
import { startPicoclaw } from "../support/picoclaw.ts";
import { until } from "../support/until.ts";
import { openFaultHarness, POINTS, withFaults } from "./fault-harness.ts";
import { answerTo } from "./model.ts";

describe("a gateway that dies", () => {
  for (const point of POINTS) {
    for (const time of [1, 2]) {
      it(
        `at the point ${point}, time ${time}, loses nothing and runs nothing twice`,
        withFaults,
        async () => {
          await using harness = await openFaultHarness({ clients: ["a", "b"] });
          const first = await harness.start(`${point}:${time}`);
          for (const client of ["a", "b", "a", "b"]) harness.devices.ask(client);
          assert.equal((await first.ended).signal, "SIGKILL");
          await harness.start();
          assert.deepEqual(await harness.outcome(), []);
        },
      );
    }
  }

  it(
    "three times at one request gives it up with an error, and answers the next",
    withFaults,
    async () => {
      await using harness = await openFaultHarness({ clients: ["a"] });
      harness.model.slow(60_000);
      for (let attempt = 1; attempt <= 3; attempt += 1) {
        await harness.start();
        if (attempt === 1) harness.devices.ask("a");
        await until(`attempt ${attempt} runs`, () => harness.model.turns.length === attempt);
        await harness.kill();
      }
      harness.model.slow(50);
      await harness.start();
      harness.devices.ask("a");
      assert.deepEqual(await harness.outcome(), []);
      const errors = harness.devices.heard.flatMap(({ id, error }) => (error ? [[id, error]] : []));
      assert.deepEqual(errors, [["r0", "internal"]]);
      assert.equal(harness.model.turns.length, 4);
    },
  );

  it(
    "after a tool ran: it is not run again, and the model reads its result",
    withFaults,
    async () => {
      await using harness = await openFaultHarness({ clients: ["a"] });
      const { server } = harness.model;
      const call = calls({ id: "call-1", name: "device", arguments: '{"facts":["uptime"]}' });
      server.script(call, answers("It is up."));
      const first = await harness.start("tool_stored");
      harness.devices.ask("a");
      assert.equal((await first.ended).signal, "SIGKILL");
      await harness.start();
      await until(
        "the answer is heard",
        () => harness.devices.open().length === 0 && harness.devices.heard.some(({ done }) => done),
      );
      const again = server.requests[1]?.body.messages ?? [];
      assert.deepEqual(
        dialogueOf(again).map(({ role }) => role),
        ["user", "assistant", "tool"],
      );
      assert.equal(dialogueOf(again)[1]?.tool_calls?.[0]?.id, "call-1");
      assert.match(dialogueOf(again)[2]?.content ?? "", /up/i);
      assert.match(again[1]?.content ?? "", /cut off/);
      assert.equal(server.requests.length, 2);
    },
  );

  it("while a tool runs: the model learns that nobody knows how it ended", withFaults, async () => {
    await using harness = await openFaultHarness({ clients: ["a"] });
    const { server } = harness.model;
    const call = calls({ id: "call-1", name: "device", arguments: '{"facts":["uptime"]}' });
    server.script(call, answers("It is up."));
    const first = await harness.start("tool_ran");
    harness.devices.ask("a");
    assert.equal((await first.ended).signal, "SIGKILL");
    await harness.start();
    await until("the answer is heard", () => harness.devices.heard.some(({ done }) => done));
    assert.match(dialogueOf(server.requests[1]?.body.messages)[2]?.content ?? "", /not known/);
  });
});

describe("picoclaw send", () => {
  it("sees the answer begin anew after a crash", withFaults, async () => {
    await using harness = await openFaultHarness({ clients: [] });
    harness.model.slow(1000);
    await harness.start();
    const broker = harness.broker.url;
    await using send = startPicoclaw(
      ["send", "me", "me r1", "--broker", broker, "--agent", "assistant", "--json"],
      // Its configuration asks for QoS 1: a request at QoS 0 would end with the gateway.
      { home: harness.home },
    );
    await send.said('"seq":3');
    await harness.kill();
    await harness.start();
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

describe("a gateway that is stopped", () => {
  it(
    "leaves what it cannot end to the next start, and answers nobody cancelled",
    withFaults,
    async () => {
      await using harness = await openFaultHarness({ clients: ["a", "b"] });
      harness.model.slow(2000);
      const first = await harness.start();
      for (const client of ["a", "b", "a"]) harness.devices.ask(client);
      await until("two turns run", () => harness.model.turns.length === 2);
      harness.stops.push(performance.now());
      first.kill("SIGTERM");
      assert.equal((await first.ended).code, 0);
      harness.devices.ask("b");
      harness.model.slow(100);
      await harness.start();
      assert.deepEqual(await harness.outcome(), []);
    },
  );
});
