import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { NEXT_PART_MS } from "../../src/cli/ask.ts";
import type { Request } from "../../src/gateway/contract.ts";
import { firstChannel, loadedFrom } from "../config/home.ts";
import { ask, createGate } from "./client.ts";
import type { Asked } from "./client.ts";
import { settled } from "./manual-clock.ts";
import { createManualAnswerer, createTestGateway } from "./setup.ts";

const PROGRESS_MS = 20_000;

const policy = { progressMs: PROGRESS_MS };

const textsOf = ({ parts }: Asked) => parts.map(({ text }) => text);

/** The ways a request comes: of QoS 0, and stored. */
const DELIVERIES: readonly Partial<Request>[] = [{ durable: false }, { durable: true }];

describe("an answer without text", () => {
  it("gets an empty part every 20 s until it has some, and still concatenates to itself", async () => {
    const { answer, end } = createManualAnswerer();
    const { gateway, clock } = createTestGateway(answer, { policy, turnTimeoutMs: 300_000 });
    const asked = ask("why");
    void gateway.accept(asked.request);
    await clock.advance(PROGRESS_MS - 1);
    assert.deepEqual(textsOf(asked), []);
    await clock.advance(1);
    assert.deepEqual(asked.parts, [{ text: "" }]);
    await clock.advance(2 * PROGRESS_MS);
    assert.deepEqual(textsOf(asked), ["", "", ""]);
    end();
    await asked.done;
    assert.equal(asked.text(), "answer to why");
    await gateway.drain(0);
    assert.equal(clock.timers, 0);
  });

  it("gets one also between two pieces of text, and none while text comes", async () => {
    const { gateway, clock } = createTestGateway(
      async function* () {
        for (const waitMs of [15_000, 15_000, 45_000]) {
          await new Promise<void>((resolve) => void clock.after(waitMs, resolve));
          yield "x";
        }
        return { messages: [] };
      },
      { policy, turnTimeoutMs: 300_000 },
    );
    const asked = ask("slowly");
    void gateway.accept(asked.request);
    await clock.advance(76_000);
    await asked.done;
    assert.deepEqual(textsOf(asked).slice(0, 4), ["x", "x", "", ""]);
    assert.equal(asked.text(), "xxx");
  });

  it("is left alone where its client wants one message, or progress is off", async () => {
    for (const [facts, progressMs] of [
      [{ stream: false }, PROGRESS_MS],
      [{ stream: true }, 0],
    ] as const) {
      const { answer, end } = createManualAnswerer();
      const options = { policy: { progressMs }, turnTimeoutMs: 300_000 };
      const { gateway, clock } = createTestGateway(answer, options);
      const first = ask("first", facts);
      const second = ask("second", facts);
      void gateway.accept(first.request);
      void gateway.accept(second.request);
      await clock.advance(100_000);
      end();
      await first.done;
      await settled();
      end();
      await second.done;
      assert.deepEqual(textsOf(first).join("|").replace(/\|$/, ""), "answer to first");
      assert.deepEqual(textsOf(second).join("|").replace(/\|$/, ""), "answer to second");
    }
  });
});

describe("a request that waits behind a silent one", () => {
  for (const facts of DELIVERIES) {
    const kind = facts.durable === true ? "stored" : "of QoS 0";
    it(`gets an empty part within 30 s, and then its answer (${kind})`, async () => {
      const { answer, end } = createManualAnswerer();
      const asked = ["first", "second"].map((text) => ask(text, { ...facts, key: text }));
      const [first, second] = asked;
      assert.ok(first !== undefined && second !== undefined);
      const { gateway, clock } = createTestGateway(answer, {
        policy,
        turnTimeoutMs: 300_000,
        replyTo: () => (part) => second.request.reply(part),
      });
      await gateway.accept(first.request);
      await clock.advance(15_000);
      await gateway.accept(second.request);
      await clock.advance(30_000);
      assert.deepEqual(second.parts, [{ text: "" }]);
      await clock.advance(PROGRESS_MS);
      assert.deepEqual(second.parts, [{ text: "" }, { text: "" }]);
      end();
      await first.done;
      await settled();
      end();
      await second.done;
      assert.equal(second.text(), "answer to second");
      await gateway.drain(0);
      assert.equal(clock.timers, 0);
    });
  }

  it("gets no second notice while the first one is on its way, and its answer after it", async () => {
    const { answer, end } = createManualAnswerer();
    const { gateway, clock } = createTestGateway(answer, { policy, turnTimeoutMs: 300_000 });
    const gate = createGate();
    const first = ask("first");
    const second = ask("second", {}, gate.deliver);
    void gateway.accept(first.request);
    void gateway.accept(second.request);
    await clock.advance(100_000);
    assert.deepEqual(textsOf(second), [""]);
    end();
    await first.done;
    await settled();
    end();
    await clock.advance(1000);
    assert.deepEqual(textsOf(second), [""]);
    gate.open();
    await second.done;
    assert.equal(second.text(), "answer to second");
  });

  it("is one of 1,024 at most that get a notice in one round of a flood", async () => {
    const { answer } = createManualAnswerer();
    const { gateway, clock } = createTestGateway(answer, {
      policy,
      turnTimeoutMs: 300_000,
      maxParallelTurns: 1,
      replyTo: () => () => {
        notices += 1;
        if (notices === 1024) full.resolve();
        return Promise.resolve();
      },
    });
    let notices = 0;
    const full = Promise.withResolvers<void>();
    const requests = Array.from({ length: 1500 }, (_, n) =>
      ask("x", { client: `c${n}`, durable: true, key: `c${n}` }),
    );
    await Promise.all(requests.map(({ request }) => gateway.accept(request)));
    await clock.advance(PROGRESS_MS);
    await full.promise;
    await settled();
    assert.equal(notices, 1024);
  });
});

it("by default the first part comes within 60 s, and the next before send gives up", async () => {
  const settings = { broker: "tcp://127.0.0.1", agent_id: "a" };
  const loaded = await loadedFrom({
    version: 3,
    channel_list: { mqtt: { enabled: true, type: "mqtt", settings } },
  });
  const progressMs = firstChannel(loaded).settings.streaming.progress_secs * 1000;
  assert.ok(progressMs > 0 && 1.5 * progressMs <= 60_000, `${progressMs} ms`);
  assert.ok(progressMs < NEXT_PART_MS, `${progressMs} ms`);
});
