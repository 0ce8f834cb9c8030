import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { Lanes } from "../../src/gateway/request/fair-queue.ts";
import type { Hold } from "../../src/gateway/request/slots.ts";
import { runs } from "../support/runs.ts";
import { ask } from "./client.ts";
import { createManualClock, settled } from "./manual-clock.ts";
import { createTestGateway } from "./setup.ts";

/** A turn that waits for work. */
interface Turn {
  readonly hold: Hold;
  /** Starts to wait, longer than a turn keeps its slot. */
  readonly wait: () => Promise<void>;
  /** The work is done. */
  readonly finish: () => void;
  readonly abort: () => void;
  /** It waited and continued. */
  isBack: boolean;
}

/** Lanes of one job each. */
function createScene(slots: number) {
  const clock = createManualClock();
  const began: string[] = [];
  const holds = new Map<string, Hold>();
  const lanes = new Lanes<string>({
    slots,
    clock,
    busyPerChannel: 100,
    needs: () => "turn",
    canWait: (lane) => lane.startsWith("push"),
    start(lane, hold) {
      began.push(lane);
      holds.set(lane, hold);
    },
  });
  const holdOf = (lane: string): Hold => holds.get(lane) ?? assert.fail(`${lane} did not begin`);
  const turnOf = (lane: string): Turn => {
    const hold = holdOf(lane);
    const { promise, resolve } = Promise.withResolvers<void>();
    const controller = new AbortController();
    const turn: Turn = {
      hold,
      isBack: false,
      finish: resolve,
      abort: () => controller.abort(),
      async wait() {
        const work = hold.whileWaiting(() => promise, controller.signal);
        void work.then(() => (turn.isBack = true));
        await clock.advance(100);
      },
    };
    return turn;
  };
  return {
    clock,
    began,
    lanes,
    holdOf,
    turnOf,
    /** The turn of a lane that waits. */
    waiting: async (lane: string): Promise<Turn> => {
      const turn = turnOf(lane);
      await turn.wait();
      return turn;
    },
    begin: (...names: readonly string[]): void => {
      for (const lane of names) lanes.add({ lane, channel: "mqtt" }, lane);
    },
  };
}

describe("slots of turns that wait", () => {
  it("are used by others, and come back before lanes that have not begun, first come, first served", async () => {
    const scene = createScene(2);
    scene.begin("a", "b", "c", "d", "e");
    const [a, b] = [scene.turnOf("a"), scene.turnOf("b")];
    await a.wait();
    assert.deepEqual(scene.began, ["a", "b", "c"]);
    await b.wait();
    assert.deepEqual(scene.began, ["a", "b", "c", "d"]);
    b.finish();
    await settled();
    a.finish();
    await settled();
    assert.deepEqual([a.isBack, b.isBack], [false, false], "no slot is free");
    scene.holdOf("c").turnEnded();
    await settled();
    assert.deepEqual([a.isBack, b.isBack], [false, true]);
    scene.holdOf("d").turnEnded();
    await settled();
    assert.equal(a.isBack, true);
    assert.equal(scene.began.length, 4, "e is younger");
    a.hold.turnEnded();
    assert.deepEqual(scene.began, ["a", "b", "c", "d", "e"]);
  });

  it("stay with the turn when the work ends in a moment", async () => {
    const { begin, began, holdOf, clock } = createScene(1);
    const { signal } = new AbortController();
    begin("a", "b");
    const quick = holdOf("a").whileWaiting(async () => {
      await new Promise<void>((resolve) => clock.after(90, resolve));
      return "quick";
    }, signal);
    await clock.advance(95);
    assert.equal(await quick, "quick");
    const broken = holdOf("a").whileWaiting(() => Promise.reject(new Error("broken")), signal);
    await assert.rejects(broken, /broken/);
    assert.equal(clock.timers, 0);
    await clock.advance(1000);
    assert.deepEqual(began, ["a"]);
  });

  it("are given back once where work waits for work of the same turn", async () => {
    const { begin, began, holdOf, clock } = createScene(1);
    const { signal } = new AbortController();
    begin("a", "b", "c");
    const hold = holdOf("a");
    const [inner, outer] = [Promise.withResolvers<string>(), Promise.withResolvers<void>()];
    const work = hold.whileWaiting(async () => {
      const result = await hold.whileWaiting(() => inner.promise, signal);
      await outer.promise;
      return result;
    }, signal);
    await clock.advance(1000);
    inner.resolve("deep");
    await settled();
    holdOf("b").turnEnded();
    assert.deepEqual(began, ["a", "b", "c"], "a waits still");
    outer.resolve();
    holdOf("c").turnEnded();
    assert.equal(await work, "deep");
    begin("d");
    assert.equal(began.length, 3, "a has the slot");
  });

  it("stay with the turns beyond four for each slot", async () => {
    const { begin, began, turnOf, waiting } = createScene(1);
    begin("old");
    for (let round = 0; round < 10; round += 1) {
      const turn = turnOf("old");
      await turn.wait();
      turn.finish();
      await settled();
      assert.equal(turn.isBack, true);
    }
    const names = Array.from({ length: 6 }, (_, index) => `lane ${index}`);
    begin(...names);
    for (const name of ["old", ...names.slice(0, 4)]) await waiting(name);
    assert.deepEqual(began, ["old", ...names.slice(0, 4)]);
  });

  it("are not waited for by a turn that was cancelled or is over", async () => {
    const { begin, began, waiting, holdOf } = createScene(1);
    begin("a", "b", "c", "d");
    const cancelled = await waiting("a");
    const over = await waiting("b");
    const late = await waiting("c");
    const backs = () => [cancelled, over, late].map(({ isBack }) => isBack);
    for (const turn of [cancelled, over]) turn.finish();
    await settled();
    assert.deepEqual(backs(), [false, false, false]);
    cancelled.abort();
    over.hold.turnEnded();
    late.abort();
    late.finish();
    await settled();
    assert.deepEqual(backs(), [true, true, true]);
    for (const { hold } of [cancelled, over, late]) hold.done();
    begin("e");
    assert.deepEqual(began, ["a", "b", "c", "d"], "no slot was won by that");
    holdOf("d").turnEnded();
    assert.deepEqual(began, ["a", "b", "c", "d", "e"], "and none was lost");
  });

  it("are all but one for turns that can wait, and one of these has the only slot", async () => {
    const { begin, began, lanes, holdOf, waiting } = createScene(3);
    begin("push 1", "push 2", "push 3", "push 4");
    assert.deepEqual(began, ["push 1", "push 2"]);
    assert.equal(lanes.reserve({ lane: "push 5", channel: "mqtt" }, true), undefined);
    begin("client 1");
    assert.deepEqual(began, ["push 1", "push 2", "client 1"], "at once");
    holdOf("client 1").done();
    assert.equal(began.length, 3);
    const back = await waiting("push 1");
    assert.deepEqual(began.slice(3), ["push 3"], "another push has its slot meanwhile");
    back.finish();
    await settled();
    assert.equal(back.isBack, false, "the last slot stays free");
    begin("client 2");
    holdOf("client 2").done();
    await settled();
    assert.equal(back.isBack, false, "also after a turn");
    holdOf("push 2").done();
    await settled();
    assert.equal(back.isBack, true);
    assert.deepEqual(began.slice(4), ["client 2"]);
    const single = createScene(1);
    single.begin("push 1", "push 2", "client 1");
    single.holdOf("push 1").done();
    assert.deepEqual(single.began, ["push 1", "client 1"]);
    single.holdOf("client 1").done();
    assert.deepEqual(single.began, ["push 1", "client 1", "push 2"]);
  });

  it("are never more than there are, and never lost, whatever happens in which order", async () => {
    const action = fc.constantFrom("begin", "push", "wait", "finish", "abort", "end", "pass");
    const steps = fc.array(fc.tuple(action, fc.nat({ max: 7 })), { maxLength: 60, size: "max" });
    await fc.assert(fc.asyncProperty(fc.integer({ min: 1, max: 3 }), steps, play), {
      numRuns: runs(100),
    });
  });
});

/** A request that begins with `fetch` waits for ever. */
function createWaitingSetup() {
  const gone: string[] = [];
  const setup = createTestGateway(async function* answer({ text, signal, whileWaiting }) {
    const never = new Promise<void>((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
    });
    if (text.startsWith("fetch")) await whileWaiting(() => never).finally(() => gone.push(text));
    yield `answer to ${text}`;
    return { messages: [] };
  });
  const asks = (text: string, client: string) => {
    const asked = ask(text, { client });
    void setup.gateway.accept(asked.request);
    return asked;
  };
  return { ...setup, gone, asks };
}

describe("a gateway whose turns all wait for tools", () => {
  it("answers others at once", async () => {
    const { clock, asks } = createWaitingSetup();
    for (let client = 0; client < 16; client += 1) asks("fetch", `client ${client}`);
    await clock.advance(200);
    const bystander = asks("hello", "bystander");
    await settled();
    assert.equal(bystander.text(), "answer to hello");
    assert.equal(clock.now(), 200);
  });

  it("answers others as soon as places are given back where they have waited already", async () => {
    const { clock, asks } = createWaitingSetup();
    for (let client = 0; client < 40; client += 1) asks("fetch", `client ${client}`);
    const bystander = asks("hello", "bystander");
    await clock.advance(300);
    assert.equal(bystander.text(), "answer to hello");
  });

  it("ends turns that wait when they are stopped, and at their deadline", async () => {
    const { clock, gateway, gone, asks } = createWaitingSetup();
    const asked = Array.from({ length: 20 }, (_, client) => asks("fetch", `client ${client}`));
    await clock.advance(200);
    asks("/stop", "client 3");
    await settled();
    assert.equal(gone.length, 1);
    assert.equal((await asked[3]?.done)?.error?.code, "cancelled");
    await clock.advance(60_000);
    assert.equal((await asked[19]?.done)?.error?.code, "timeout");
    assert.equal(gone.length, 20);
    const after = asks("hello", "client 3");
    await settled();
    assert.equal(after.text(), "answer to hello");
    await gateway.drain(0);
    assert.equal(clock.timers, 0);
  });
});

/** One turn of the model. */
interface Known {
  readonly lane: string;
  readonly hold: Hold;
  readonly controller: AbortController;
  readonly works: (() => void)[];
  state: "runs" | "waits" | "over";
}

async function play(slots: number, steps: readonly (readonly [string, number])[]): Promise<void> {
  const { begin, began, holdOf, clock, lanes } = createScene(slots);
  const turns: Known[] = [];
  const asked: string[] = [];
  const slotsOfPushes = Math.max(1, slots - 1);
  const isPush = ({ lane }: Pick<Known, "lane">): boolean => lane.startsWith("push");
  const beginOne = (kind: string): void => {
    asked.push(`${kind} ${asked.length}`);
    begin(...asked.slice(-1));
  };

  const look = (): void => {
    for (const lane of began.slice(turns.length)) {
      const hold = holdOf(lane);
      turns.push({ lane, hold, controller: new AbortController(), works: [], state: "runs" });
    }
    // A cancelled turn only ends.
    const live = turns.filter(
      ({ state, controller: { signal } }) => state !== "over" && !signal.aborted,
    );
    const running = live.filter(({ state }) => state === "runs");
    assert.ok(running.length <= slots, `${running.length} turns run`);
    assert.ok(running.filter(isPush).length <= slotsOfPushes, "a slot is kept for others");
    assert.ok(live.length <= 5 * slots, `${live.length} turns are under way`);
    const open = turns.filter(({ state }) => state !== "over");
    const waiting = asked.filter((lane) => !began.includes(lane)).map((lane) => ({ lane }));
    if (!waiting.every(isPush)) assert.ok(open.length >= slots, "nobody waits for a free slot");
    if (waiting.some(isPush)) {
      const isTaken = open.length >= slots || open.filter(isPush).length >= slotsOfPushes;
      assert.ok(isTaken, "no push waits for a slot that it may have");
    }
  };
  const wait = (turn: Known): void => {
    const { promise, resolve } = Promise.withResolvers<void>();
    turn.works.push(resolve);
    turn.state = "waits";
    void turn.hold
      .whileWaiting(() => promise, turn.controller.signal)
      .then(() => {
        if (turn.state === "waits") turn.state = "runs";
      });
  };
  const end = (turn: Known): void => {
    turn.state = "over";
    turn.hold.done();
    for (const finish of turn.works) finish();
  };
  const act = (action: string, turn: Known): void => {
    if (action === "wait" && turn.state === "runs") wait(turn);
    if (action === "finish") turn.works.shift()?.();
    if (action === "abort") turn.controller.abort();
    if (action === "end") end(turn);
  };

  for (const [action, number] of steps) {
    if (action === "begin") beginOne("lane");
    if (action === "push") beginOne("push");
    const open = turns.filter(({ state }) => state !== "over");
    const turn = open[number % Math.max(1, open.length)];
    if (turn !== undefined) act(action, turn);
    if (action === "pass") await clock.advance(100);
    for (let step = 0; step < 10; step += 1) await Promise.resolve();
    look();
  }
  while (turns.some(({ state }) => state !== "over")) {
    for (const turn of turns) if (turn.state !== "over") end(turn);
    await settled();
    look();
  }
  assert.equal(began.length, asked.length, "every lane had its turn");
  assert.equal(lanes.size, 0);
  for (let more = 0; more < slots; more += 1) begin(`more ${more}`);
  assert.equal(began.length, asked.length + slots, "all slots are free again");
}
