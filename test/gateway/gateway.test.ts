import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { Failure } from "../../src/base/failure.ts";
import { runs } from "../support/runs.ts";
import { ask, createGate } from "./client.ts";
import { settled } from "./manual-clock.ts";
import { createManualAnswerer, createTestGateway, NO_LIMITS, shout } from "./setup.ts";

const LIMITED = { ...NO_LIMITS, requests_per_minute: 0, burst: 0, queued: 32 };

describe("the gateway", () => {
  it("answers, and hands the conversation on to the next turn of that client alone", async () => {
    const histories: (readonly string[])[] = [];
    const { gateway } = createTestGateway(async function* (turn) {
      histories.push(await turn.history());
      return yield* shout(turn);
    });
    for (const [text, client] of [
      ["one", "a"],
      ["two", "a"],
      ["three", "b"],
    ] as const) {
      const asked = ask(text, { client });
      void gateway.accept(asked.request);
      assert.deepEqual(await asked.done, { text: text.toUpperCase(), done: true });
    }
    assert.deepEqual(histories, [[], ["one", "ONE"], []]);
  });

  it("forgets a turn that failed", async () => {
    const histories: (readonly string[])[] = [];
    const { gateway } = createTestGateway(async function* (turn) {
      histories.push(await turn.history());
      yield "so far ";
      if (turn.text === "bad") throw new Failure("model", "the model failed");
      return { messages: [turn.text] };
    });
    for (const text of ["one", "bad", "two"]) {
      const asked = ask(text);
      void gateway.accept(asked.request);
      await asked.done;
    }
    assert.deepEqual(histories, [[], ["one"], ["one"]]);
  });

  it("streams a part an interval, as the answer comes", async () => {
    const { gateway, clock } = createTestGateway(async function* () {
      for (const word of ["CPU ", "usage ", "is ", "12 %."]) {
        await new Promise<void>((resolve) => {
          clock.after(200, resolve);
        });
        yield word;
      }
      return { messages: [] };
    });
    const streamed = ask("?", { client: "a" });
    const whole = ask("?", { client: "b", stream: false });
    void gateway.accept(streamed.request);
    void gateway.accept(whole.request);
    await clock.advance(2000);
    assert.deepEqual(streamed.parts, [
      { text: "CPU usage " },
      { text: "is " },
      { text: "12 %.", done: true },
    ]);
    assert.deepEqual(whole.parts, [{ text: "CPU usage is 12 %.", done: true }]);
  });

  it("runs one client's requests in order, clients side by side, as many as there are slots", async () => {
    const { answer, began, running, end } = createManualAnswerer();
    const { gateway } = createTestGateway(answer, { maxParallelTurns: 2 });
    for (const client of ["a", "b", "c"]) {
      for (const number of [1, 2])
        void gateway.accept(ask(`${client}${number}`, { client }).request);
    }
    await settled();
    assert.deepEqual(began, ["a1", "b1"]);
    assert.equal(running(), 2);
    for (let turn = 0; turn < 6; turn++) {
      end();
      await settled();
    }
    assert.deepEqual(began, ["a1", "b1", "c1", "a2", "b2", "c2"]);
  });

  it("lets a quiet client wait for one turn at the most, however much another asks", async () => {
    const { answer, began, end } = createManualAnswerer();
    const { gateway } = createTestGateway(answer, {
      maxParallelTurns: 1,
      policy: { limits: LIMITED },
    });
    const waits: number[] = [];
    for (let round = 0; round < 20; round++) {
      for (let number = 0; number < 50; number++) {
        void gateway.accept(ask(`flood ${number}`, { client: "flood" }).request);
      }
      await settled();
      const before = began.length;
      void gateway.accept(ask("quiet", { client: "quiet" }).request);
      await settled();
      while (began.at(-1) !== "quiet") {
        end();
        await settled();
      }
      waits.push(began.length - 1 - before);
      end();
      await settled();
    }
    // Turns of the flood that began after the quiet client asked and before it was served.
    assert.deepEqual(
      waits,
      Array.from({ length: 20 }, () => 0),
    );
  });

  it("holds a lane until its answer is delivered, but not the slot", async () => {
    const { answer, began, end } = createManualAnswerer();
    const { gateway } = createTestGateway(answer, { maxParallelTurns: 1 });
    const gate = createGate();
    const stuck = ask("a1", { client: "a" }, gate.deliver);
    void gateway.accept(stuck.request);
    void gateway.accept(ask("a2", { client: "a" }).request);
    void gateway.accept(ask("b1", { client: "b" }).request);
    await settled();
    end();
    await settled();
    assert.deepEqual(began, ["a1", "b1"]);
    end();
    await settled();
    assert.deepEqual(began, ["a1", "b1"]);
    gate.open();
    await settled();
    assert.deepEqual(began, ["a1", "b1", "a2"]);
    assert.equal(stuck.text(), "answer to a1");
  });

  it("refuses a channel that it was given no policy for, and does not throw", async () => {
    const { gateway, lines } = createTestGateway(shout);
    const asked = ask("?", { channel: "other" });
    void gateway.accept(asked.request);
    const { error } = await asked.done;
    assert.deepEqual([error?.code, error?.why], ["internal", undefined]);
    await settled();
    assert.match(String(lines[0]?.fields["why"]), /other/);
  });

  it("gives everyone one whole answer, in the order of asking, whatever happens", async () => {
    const step = fc.record({
      client: fc.constantFrom("a", "b", "c"),
      pieces: fc.array(fc.string({ maxLength: 5 }), { maxLength: 4 }),
      pieceMs: fc.constantFrom(0, 100, 400),
      deliveryMs: fc.constantFrom(0, 10, 2000),
      fails: fc.boolean(),
      waitMs: fc.constantFrom(0, 0, 50, 1000),
    });
    const steps = fc.array(step, { maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(steps, fc.integer({ min: 1, max: 3 }), async (all, slots) => {
        let running = 0;
        const setup = createTestGateway(
          async function* ({ text }) {
            running++;
            assert.ok(running <= slots);
            const { pieces, pieceMs, fails } = all[Number(text)] ?? assert.fail();
            for (const piece of pieces) {
              yield piece;
              await new Promise<void>((resolve) => {
                setup.clock.after(pieceMs, resolve);
              });
            }
            running--;
            if (fails) throw new Failure("model", "|it broke");
            return { messages: [text] };
          },
          { maxParallelTurns: slots },
        );
        const { gateway, clock, lines } = setup;
        const heard: { client: string; number: number }[] = [];
        const asked = all.map(({ client, deliveryMs }, number) =>
          ask(`${number}`, { client }, () => {
            if (heard.findLast((each) => each.client === client)?.number !== number) {
              heard.push({ client, number });
            }
            return new Promise<void>((resolve) => {
              clock.after(deliveryMs, resolve);
            });
          }),
        );
        for (const [number, { waitMs }] of all.entries()) {
          const { request } = asked[number] ?? assert.fail();
          void gateway.accept(request);
          await clock.advance(waitMs);
        }
        await clock.advance(200_000);

        for (const [number, { pieces, fails }] of all.entries()) {
          const { parts, text } = asked[number] ?? assert.fail();
          assert.equal(parts.filter(({ done }) => done).length, 1);
          assert.ok(parts.at(-1)?.done);
          assert.equal(text(), pieces.join("") + (fails ? "|it broke" : ""));
        }
        for (const client of ["a", "b", "c"]) {
          const order = heard.filter((each) => each.client === client).map(({ number }) => number);
          assert.deepEqual(
            order,
            order.toSorted((one, other) => one - other),
          );
        }
        assert.equal(lines.filter(({ level }) => level !== "debug").length, all.length);
        assert.equal(clock.timers, 0);
      }),
      { numRuns: runs(60) },
    );
  });
});
