import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ask, createGate } from "./client.ts";
import { settled } from "./manual-clock.ts";
import { createManualAnswerer, createTestGateway, shout } from "./setup.ts";

describe("drain", () => {
  it("lets everything end that was accepted, refuses what comes, and is quick about it", async () => {
    const { answer, end } = createManualAnswerer();
    const { gateway, clock } = createTestGateway(answer);
    const asked = ["1", "2"].map((text) => ask(text));
    for (const { request } of asked) void gateway.accept(request);
    const drained = gateway.drain(60_000);
    const late = ask("late");
    void gateway.accept(late.request);
    const refused = await late.done;
    assert.equal(refused.error?.code, "busy");
    assert.ok((refused.error?.retryAfter ?? 0) >= 1);
    for (const { done } of asked) {
      await settled();
      end();
      assert.equal((await done).error, undefined);
    }
    assert.deepEqual(await drained, { cancelled: 0, resumable: 0, undelivered: 0 });
    assert.equal(clock.timers, 0);
    assert.equal(clock.now(), 0);
  });

  it("still repeats an answer that was given", async () => {
    const { answer, end } = createManualAnswerer();
    const { gateway } = createTestGateway(answer);
    const first = ask("?", { key: "k" });
    void gateway.accept(first.request);
    await settled();
    end();
    await first.done;
    await gateway.drain(1000);
    const again = ask("?", { key: "k", redelivered: true });
    void gateway.accept(again.request);
    assert.deepEqual(await again.done, await first.done);
  });

  it("cancels at the deadline what runs and what waits, and answers every client", async () => {
    const { answer } = createManualAnswerer();
    const { gateway, clock } = createTestGateway(answer, { maxParallelTurns: 1 });
    const asked = ["a", "a", "b", "c"].map((client) => ask("?", { client }));
    for (const { request } of asked) void gateway.accept(request);
    const drained = gateway.drain(5000);
    await clock.advance(4999);
    assert.ok(asked.every(({ parts }) => parts.length === 0));
    await clock.advance(1);
    for (const { done } of asked) assert.equal((await done).error?.code, "cancelled");
    assert.deepEqual(await drained, { cancelled: 4, resumable: 0, undelivered: 0 });
    assert.equal(clock.now(), 5000);
    assert.equal(clock.timers, 0);
  });

  it("ends although an answerer ignores its signal and a broker is away, and reports what is left", async () => {
    const { gateway, clock, lines } = createTestGateway(async function* ({ text }) {
      if (text === "deaf") await new Promise(() => {});
      yield "answer";
      return { messages: [] };
    });
    const gate = createGate();
    const deaf = ask("deaf", { client: "a" });
    const lost = ask("?", { client: "b" }, gate.deliver);
    const behind = ask("?", { client: "b" });
    for (const { request } of [deaf, lost, behind]) void gateway.accept(request);
    const drained = gateway.drain(1000);
    await clock.advance(1000 + 2000);
    assert.deepEqual(await drained, { cancelled: 2, resumable: 0, undelivered: 2 });
    assert.equal((await deaf.done).error?.code, "cancelled");
    assert.equal(clock.timers, 0);
    assert.equal(lines.length, 3);
    gate.open();
    await settled();
    assert.equal(lines.length, 3, "no second line for an answer that gets through after all");
  });

  it("is not delayed by requests that continue to arrive", async () => {
    const { answer, end } = createManualAnswerer();
    const { gateway, clock } = createTestGateway(answer);
    void gateway.accept(ask("?").request);
    await settled();
    const drained = gateway.drain(60_000);
    const gate = createGate();
    for (let number = 0; number < 200; number++) {
      void gateway.accept(ask("?", { client: "late" }, gate.deliver).request);
    }
    end();
    assert.deepEqual(await drained, { cancelled: 0, resumable: 0, undelivered: 0 });
    for (let number = 0; number < 200; number++) {
      void gateway.accept(ask("?", { client: "later" }, gate.deliver).request);
    }
    assert.equal(clock.timers, 0);
  });

  it("leaves no timer behind of what was stopped and not delivered", async () => {
    const { answer, end } = createManualAnswerer();
    const { gateway, clock } = createTestGateway(answer);
    const gate = createGate();
    void gateway.accept(ask("?", {}, gate.deliver).request);
    void gateway.accept(ask("behind").request);
    await settled();
    end();
    const drained = gateway.drain(1000);
    await clock.advance(1000 + 1999);
    void gateway.accept(ask("/stop", { address: "/stop" }).request);
    await clock.advance(1);
    assert.deepEqual(await drained, { cancelled: 1, resumable: 0, undelivered: 2 });
    assert.equal(clock.timers, 0);
  });

  it("is one drain, however often it is asked for", async () => {
    const { gateway } = createTestGateway(shout);
    assert.equal(gateway.drain(1000), gateway.drain(1));
    assert.deepEqual(await gateway.drain(1), { cancelled: 0, resumable: 0, undelivered: 0 });
  });

  it("still lets a client stop", async () => {
    const { answer } = createManualAnswerer();
    const { gateway } = createTestGateway(answer);
    const asked = ask("?");
    void gateway.accept(asked.request);
    await settled();
    const drained = gateway.drain(60_000);
    void gateway.accept(ask("/stop", { address: "/stop" }).request);
    assert.deepEqual(await drained, { cancelled: 0, resumable: 0, undelivered: 0 });
    assert.equal((await asked.done).error?.code, "cancelled");
  });
});
