import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import type { GatewayStatus } from "../../src/gateway/statistics/contract.ts";
import { statusOf } from "../../src/gateway/statistics/status.ts";
import { ask } from "./client.ts";
import { createManualClock, settled } from "./manual-clock.ts";
import { createTestGateway, createTestStore, OPEN_TO_ALL, shout } from "./setup.ts";
import type { TestGateway } from "./setup.ts";

const NOWHERE = { pid: 1, instance: "0123456789ab", channels: [], agent: {}, problem: undefined };

function read({ gateway }: Pick<TestGateway, "gateway">): GatewayStatus {
  return statusOf(gateway.report(), NOWHERE);
}

const MINUTE = 60_000;

describe("the statistics of a gateway", () => {
  it("count requests by channel and outcome, with their durations", async () => {
    const tested = createTestGateway(async function* ({ text }) {
      await new Promise<void>((resolve) => {
        tested.clock.after(300, resolve);
      });
      if (text === "no") throw new Failure("model", "the model failed");
      yield text;
      return { messages: [], usage: { inputTokens: 11, outputTokens: 22 } };
    });
    void tested.gateway.accept(ask("yes", { client: "a", id: "r-1" }).request);
    void tested.gateway.accept(ask("no", { client: "b" }).request);
    await tested.clock.advance(1000);
    const { requests, recent, minutes, queue } = read(tested);
    const [mqtt] = requests;
    assert.equal(requests.length, 1);
    assert.equal(mqtt?.channel, "mqtt");
    assert.deepEqual(mqtt.outcomes, { ok: 1, model: 1 });
    const { bounds, counts, sum } = mqtt.duration_seconds;
    assert.equal(counts.length, bounds.length + 1);
    assert.equal(counts[bounds.indexOf(0.5)], 2);
    assert.ok(sum >= 0.6 && sum < 1, String(sum));
    assert.equal(mqtt.first_part_seconds.counts[bounds.indexOf(0.5)], 2);
    assert.deepEqual(queue, { running: 0, slots: 16, waiting: 0, in_flight: 0 });
    assert.equal(minutes.length, 1);
    assert.equal(minutes[0]?.requests, 2);
    assert.equal(minutes[0].failed, 1);
    assert.equal(minutes[0].tokens, 33);
    assert.equal(minutes[0].answer_ms, 300);
    const answered = recent.find(({ client }) => client === "a");
    assert.equal(answered?.id, "r-1");
    assert.equal(answered.outcome, "ok");
    assert.equal(answered.ms, 300);
    assert.equal(answered.tokens_in, 11);
    assert.equal(recent.find(({ client }) => client === "b")?.message, "the model failed");
    assert.doesNotMatch(JSON.stringify(recent), /"question"|"answer"/);
  });

  it("tell what runs and what waits", async () => {
    const tested = createTestGateway(
      async function* () {
        yield "a";
        await new Promise<void>((resolve) => {
          tested.clock.after(300, resolve);
        });
        return { messages: [] };
      },
      { maxParallelTurns: 2 },
    );
    for (const client of ["a", "b", "c", "c"])
      void tested.gateway.accept(ask("x", { client }).request);
    await settled();
    assert.deepEqual(read(tested).queue, { running: 2, slots: 2, waiting: 2, in_flight: 4 });
    await tested.clock.advance(1000);
    assert.deepEqual(read(tested).queue, { running: 0, slots: 2, waiting: 0, in_flight: 0 });
  });

  it("keep the texts of the last requests only with `logContent`", async () => {
    const tested = createTestGateway(shout, { logContent: true });
    const asked = ask("x".repeat(10_000));
    void tested.gateway.accept(asked.request);
    await asked.done;
    await settled();
    const [request] = read(tested).recent;
    assert.equal(request?.question?.length, 2001);
    assert.equal(request.answer?.length, 2001);
  });

  it("need no more memory after many requests of many clients", async () => {
    const tested = createTestGateway(shout);
    for (let number = 0; number < 300; number += 1) {
      const asked = ask("x", { client: `${number} ${"long".repeat(100)}` });
      void tested.gateway.accept(asked.request);
      await asked.done;
      await settled();
    }
    const { recent, requests } = read(tested);
    assert.equal(recent.length, 100);
    assert.deepEqual(
      recent.map(({ number }) => number),
      Array.from({ length: 100 }, (_, index) => 300 - index),
    );
    assert.ok(recent.every(({ client }) => client.length <= 129));
    assert.deepEqual(requests[0]?.outcomes, { ok: 300 });
  });

  it("remember the minutes of four hours, even when the clock is set back", async () => {
    const clock = createManualClock();
    const tested = createTestGateway(shout, { clock, store: createTestStore(clock) });
    const askOnce = async (): Promise<void> => {
      const asked = ask("x");
      void tested.gateway.accept(asked.request);
      await asked.done;
      await settled();
    };
    await askOnce();
    await clock.advance(MINUTE);
    await askOnce();
    await askOnce();
    assert.deepEqual(
      read(tested).minutes.map(({ requests }) => requests),
      [1, 2],
    );
    await clock.advance(239 * MINUTE);
    await askOnce();
    assert.deepEqual(
      read(tested).minutes.map(({ requests }) => requests),
      [2, 1],
    );
  });

  it("list the calls of models and tools with the request that made them", async () => {
    const spent = { inputTokens: 10, outputTokens: 5, cachedTokens: 4, cost: 0.5 };
    const model = { name: "gpt", provider: "openai", model: "gpt-9" };
    const times = { startedAt: 1, endedAt: 31 };
    const tested = createTestGateway(async function* ({ allowance }) {
      allowance.begin(spent);
      allowance.ended?.({ ...model, ...times, spent });
      allowance.ended?.({ tool: "exec", verdict: "refused", startedAt: 1, endedAt: 13 });
      allowance.ended?.({ ...model, ...times, spent, error: "silent" });
      yield "done";
      return { messages: [] };
    });
    const asked = ask("x");
    void tested.gateway.accept(asked.request);
    await asked.done;
    await settled();
    const { models, tools, recent, usage, clients } = read(tested);
    assert.deepEqual(models, [
      {
        model: "gpt",
        provider: "openai",
        calls: 2,
        failed: 1,
        tokens_in: 20,
        tokens_cached: 8,
        tokens_out: 10,
        cost: 1,
      },
    ]);
    assert.deepEqual(tools, [{ tool: "exec", verdict: "refused", calls: 1, seconds: 0.012 }]);
    assert.deepEqual(recent[0]?.tools, [{ name: "exec", verdict: "refused", ms: 12 }]);
    assert.equal(recent[0].cost, 0.5);
    assert.equal(usage.gateway.tokens, 15);
    assert.deepEqual(usage.channels[0]?.channel, "mqtt");
    assert.deepEqual(clients, [
      { channel: "mqtt", client: "device", requests: 1, tokens: 15, cost: 0.5 },
    ]);
  });

  it("count rejections, also those without an answer, and list each kind of one client once a minute", async () => {
    const tested = createTestGateway(shout, { policy: { ...OPEN_TO_ALL, denyFrom: ["device"] } });
    for (let times = 0; times < 5; times += 1) void tested.gateway.accept(ask("x").request);
    await settled();
    const { requests, recent } = read(tested);
    assert.deepEqual(requests[0]?.outcomes, { forbidden: 5 });
    assert.equal(recent.length, 1);
  });
});
