import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import * as fc from "fast-check";
import { modelErrorOf } from "../../../src/agent/model/errors.ts";
import { createRate } from "../../../src/agent/model/rate.ts";
import { pause } from "../../../src/base/async.ts";
import type { AgentDefaults } from "../../../src/config/contract.ts";
import { collect, modelEntry, modelFailureOf, questionOf } from "../../support/agent-config.ts";
import { answers, refuses, startModelServer } from "../../support/model-server.ts";
import type { ModelServer } from "../../support/model-server.ts";
import { createClock, openTestModels } from "../../support/model.ts";
import { runs } from "../../support/runs.ts";

let one: ModelServer;
let two: ModelServer;
beforeEach(async () => {
  [one, two] = await Promise.all([startModelServer(), startModelServer()]);
  one.otherwise(answers("from one"));
  two.otherwise(answers("from two"));
});
afterEach(() => Promise.all([one.close(), two.close()]));

const MINUTE = 60_000;
const NEVER = new AbortController().signal;

interface Setup {
  readonly rpm: number;
  /** Whether there is a second entry, and its own limit. */
  readonly other?: number;
  readonly defaults?: Partial<AgentDefaults>;
  readonly waits?: typeof pause;
}

function setUp({ rpm, other, defaults = {}, waits }: Setup) {
  const entries = [modelEntry({ model_name: "one", api_base: one.base, rpm })];
  if (other !== undefined) {
    entries.push(modelEntry({ model_name: "two", api_base: two.base, rpm: other }));
  }
  const { models, clock } = openTestModels(
    entries,
    { model_fallbacks: ["two"], turn_timeout_secs: 300, ...defaults },
    waits && { pause: waits },
  );
  const ask = async (text = "?", signal = NEVER): Promise<string> => {
    const messages = [{ role: "user", text }] as const;
    return (await collect(models.main({ ...questionOf(signal), messages }))).text;
  };
  return { ask, clock };
}

const textsAsked = (): (string | null | undefined)[] =>
  one.requests.map(({ body }) => body.messages.at(-1)?.content);

describe("rpm", () => {
  it("with one model makes the next question wait for its minute", async () => {
    const { ask, clock } = setUp({ rpm: 2 });
    const start = clock.now();
    await ask();
    clock.move(10_000);
    await ask();
    await ask();
    assert.equal(clock.now() - start, MINUTE);
    await ask();
    assert.equal(clock.now() - start, MINUTE + 10_000);
    assert.equal(one.requests.length, 4);
  });

  it("with another model makes that one answer meanwhile", async () => {
    const { ask, clock } = setUp({ rpm: 1, other: 1 });
    const start = clock.now();
    assert.equal(await ask(), "from one");
    clock.move(10_000);
    assert.equal(await ask(), "from two");
    assert.equal(clock.now() - start, 10_000);
    assert.equal(await ask(), "from one");
    assert.equal(clock.now() - start, MINUTE);
  });

  it("of the others that is used up makes a model be asked again that failed", async () => {
    const { ask, clock } = setUp({ rpm: 0, other: 1 });
    const start = clock.now();
    one.script(refuses(503));
    assert.equal(await ask(), "from two");
    clock.move(MINUTE - 1);
    assert.equal(await ask(), "from two", "one cools down still, two waits for its room");
    clock.move(MINUTE / 2);
    one.script(refuses(503), answers("from one, again"));
    assert.equal(await ask(), "from one, again", "one is ready, and two has no room");
    assert.ok(clock.now() - start < 2 * MINUTE);
  });

  it("keeps the order of the questions that wait", async () => {
    const { ask } = setUp({ rpm: 1 });
    await Promise.all(["a", "b", "c", "d"].map((text) => ask(text)));
    assert.deepEqual(textsAsked(), ["a", "b", "c", "d"]);
  });

  it("lets a question that is given up leave, and the next one take its place", async () => {
    const gate = Promise.withResolvers<void>();
    const { ask, clock } = setUp({
      rpm: 1,
      waits: async (milliseconds, signal) => {
        const { promise: aborted, resolve } = Promise.withResolvers<void>();
        signal.addEventListener("abort", () => resolve());
        await Promise.race([gate.promise, aborted]);
        signal.throwIfAborted();
        clock.move(milliseconds);
      },
    });
    const [head, middle] = [new AbortController(), new AbortController()];
    await ask("a");
    const given = [ask("b", head.signal), ask("c", middle.signal)];
    const last = ask("d");
    const reasons = [new Error("b is stopped"), new Error("c is stopped")];
    const left = given.map((answer, index) => assert.rejects(answer, reasons[index]));
    middle.abort(reasons[1]);
    head.abort(reasons[0]);
    await Promise.all(left);
    gate.resolve();
    await last;
    assert.deepEqual(textsAsked(), ["a", "d"]);
  });

  it("counts retries too", async () => {
    const { ask, clock } = setUp({ rpm: 1 });
    one.script(refuses(503));
    const start = clock.now();
    assert.equal(await ask(), "from one");
    assert.ok(clock.now() - start >= MINUTE);
  });

  it("counts each key that is tried", async () => {
    const entry = modelEntry({ api_base: one.base, rpm: 1, api_keys: ["key-one", "key-two"] });
    const { models, clock } = openTestModels([entry], { turn_timeout_secs: 300 });
    one.script(refuses(401));
    const start = clock.now();
    assert.equal((await collect(models.main(questionOf()))).text, "from one");
    assert.equal(clock.now() - start, MINUTE);
  });

  it("that a turn cannot wait for is a failure that says when to come again", async () => {
    const { ask } = setUp({ rpm: 1, defaults: { turn_timeout_secs: 59 } });
    await ask();
    const failure = await modelFailureOf(ask());
    assert.equal(failure.retryAfter, 60);
    assert.match(failure.why ?? "", /^model_list "one": its rpm of 1/);
    assert.equal(modelErrorOf(failure)?.status, 429);
    assert.equal(one.requests.length, 1);
  });

  it("lets nobody pass those that wait, also when there is room again", async () => {
    const clock = createClock();
    const gate = Promise.withResolvers<void>();
    const rate = createRate({
      rpm: 2,
      label: "",
      patience: Infinity,
      now: clock.now,
      pause: async (milliseconds) => {
        await gate.promise;
        clock.move(milliseconds);
      },
    });
    const order: string[] = [];
    await rate.take(NEVER);
    await rate.take(NEVER);
    const before = rate.take(NEVER).then(() => order.push("before"));
    clock.move(MINUTE);
    const after = rate.take(NEVER).then(() => order.push("after"));
    gate.resolve();
    await Promise.all([before, after]);
    assert.deepEqual(order, ["before", "after"]);
  });

  it("lets a bounded number of questions wait", async () => {
    const { now } = createClock();
    const label = 'model_list "one"';
    const rate = createRate({ rpm: 1, label, patience: Infinity, now, pause });
    const controller = new AbortController();
    await rate.take(NEVER);
    const waiting = Array.from({ length: 100 }, () => rate.take(controller.signal));
    const failure = await modelFailureOf(rate.take(NEVER));
    assert.equal(failure.retryAfter, 101 * 60);
    controller.abort(new Error("enough"));
    for (const answer of await Promise.allSettled(waiting)) assert.equal(answer.status, "rejected");
    assert.equal(rate.wait(), MINUTE);
  });

  it("is never exceeded in any 60 seconds, and nobody waits longer than was said", async () => {
    const gaps = fc.array(fc.integer({ min: 0, max: 40_000 }), { maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 5 }), gaps, async (rpm, moves) => {
        const clock = createClock();
        const rate = createRate({ ...clock, rpm, label: "", patience: Infinity });
        const starts: number[] = [];
        for (const gap of moves) {
          clock.move(gap);
          const expected = clock.now() + rate.wait();
          await rate.take(NEVER);
          assert.equal(clock.now(), expected);
          starts.push(clock.now());
        }
        for (const [index, start] of starts.entries()) {
          const later = starts[index + rpm];
          assert.ok(later === undefined || later - start >= MINUTE);
        }
      }),
      { numRuns: runs(200) },
    );
  });
});
