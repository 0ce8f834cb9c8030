import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { describe, it } from "node:test";
import {
  abortable,
  createFairSemaphore,
  createSemaphore,
  createSerialQueue,
  createSharedRun,
  Lazy,
  MAX_TIMER_MS,
  onAbort,
  once,
  settlesWithin,
  pause,
  startDeadline,
  timerMs,
  TimeoutError,
  withTimeout,
} from "../../src/base/async.ts";

const STOPPED = new Error("stopped");
const NEVER = new AbortController().signal;
const never = (): Promise<never> => new Promise(() => {});
const listenersOf = (signal: AbortSignal): number => getEventListeners(signal, "abort").length;

/** A signal that must have no listener when the test ends. */
function signalOf(t: { after: (run: () => void) => void }): AbortController {
  const controller = new AbortController();
  t.after(() => assert.equal(listenersOf(controller.signal), 0, "a listener is left"));
  return controller;
}

it("a delay is one that a timer can hold", () => {
  assert.deepEqual([-1, 5, 2 ** 40, Infinity].map(timerMs), [0, 5, MAX_TIMER_MS, MAX_TIMER_MS]);
});

it("what is made later is made once, and again after a failure", async () => {
  let calls = 0;
  const lazy = new Lazy(async () => {
    calls += 1;
    if (calls === 1) throw STOPPED;
    return calls;
  });
  assert.deepEqual([lazy.loading, lazy.value], [undefined, undefined]);
  await assert.rejects(lazy.load(), STOPPED);
  assert.equal(lazy.loading, undefined);
  assert.deepEqual(await Promise.all([lazy.load(), lazy.load()]), [2, 2]);
  assert.equal(lazy.value, 2);
});

describe("onAbort", () => {
  it("calls once at the abort, or at once when that has happened", () => {
    let calls = 0;
    const controller = new AbortController();
    onAbort(controller.signal, () => (calls += 1));
    assert.equal(calls, 0);
    controller.abort();
    onAbort(controller.signal, () => (calls += 1));
    assert.equal(calls, 2);
  });

  it("stops listening, and does nothing without a signal", (t) => {
    const controller = signalOf(t);
    onAbort(controller.signal, () => assert.fail("it was stopped"))();
    onAbort(undefined, () => assert.fail("there is no signal"))();
  });
});

describe("pause", () => {
  it("waits for the delay", async (t) => {
    const start = performance.now();
    await pause(20, signalOf(t).signal);
    await pause(1, signalOf(t).signal);
    assert.ok(performance.now() - start >= 20);
  });

  it("rejects with the reason of an abort, before or during the wait", async (t) => {
    const controller = signalOf(t);
    const pausing = pause(MAX_TIMER_MS, controller.signal);
    controller.abort(STOPPED);
    await assert.rejects(pausing, STOPPED);
    await assert.rejects(pause(MAX_TIMER_MS, controller.signal), STOPPED);
  });
});

describe("abortable", () => {
  it("settles as the work does", async (t) => {
    const { signal } = signalOf(t);
    assert.equal(await abortable(Promise.resolve(7), signal), 7);
    await assert.rejects(abortable(Promise.reject(new Error("no")), signal), /no/);
    assert.equal(await abortable(Promise.resolve(7), undefined), 7);
  });

  it("rejects with the reason, even when the work ignores the signal or has a result", async (t) => {
    const controller = signalOf(t);
    const waiting = abortable(never(), controller.signal);
    controller.abort(STOPPED);
    await assert.rejects(waiting, STOPPED);
    await assert.rejects(abortable(Promise.resolve(7), controller.signal), STOPPED);
  });

  it("rejects with the reason when the abort comes right after the result", async (t) => {
    const controller = signalOf(t);
    const waiting = abortable(Promise.resolve(7), controller.signal);
    controller.abort(STOPPED);
    await assert.rejects(waiting, STOPPED);
  });

  it("rejects with the reason, not with what the work makes of the abort", async (t) => {
    const controller = signalOf(t);
    const { promise, reject } = Promise.withResolvers<never>();
    onAbort(controller.signal, () => reject(new Error("its own")));
    const waiting = abortable(promise, controller.signal);
    controller.abort(STOPPED);
    await assert.rejects(waiting, STOPPED);
  });
});

describe("settlesWithin", () => {
  it("says whether the work was done in time", async () => {
    assert.equal(await settlesWithin(Promise.resolve(), 1_000), true);
    assert.equal(await settlesWithin(never(), 5), false);
    await assert.rejects(settlesWithin(Promise.reject(new Error("no")), 1_000), /no/);
  });

  it("rejects with the reason of an abort, and leaves no timer that would keep the process", async (t) => {
    const controller = signalOf(t);
    const { clearTimeout: clear } = globalThis;
    let cleared = 0;
    const counting = (timer: number): void => {
      cleared += 1;
      clear(timer);
    };
    Reflect.set(globalThis, "clearTimeout", counting);
    t.after(() => Reflect.set(globalThis, "clearTimeout", clear));
    const waiting = settlesWithin(never(), MAX_TIMER_MS, controller.signal);
    controller.abort(STOPPED);
    await assert.rejects(waiting, STOPPED);
    assert.equal(cleared, 1);
  });
});

describe("withTimeout", () => {
  it("gives the result or the error of the work, and aborts its signal afterwards", async (t) => {
    const { signal } = signalOf(t);
    const signals: AbortSignal[] = [];
    const work = async (limit: AbortSignal): Promise<number> => {
      signals.push(limit);
      return 7;
    };
    assert.equal(await withTimeout(1_000, signal, work), 7);
    assert.equal(signals[0]?.aborted, true);
    await assert.rejects(
      withTimeout(1_000, signal, () => Promise.reject(new Error("no"))),
      /no/,
    );
  });

  it("ends at the deadline, even when the work ignores its signal", async (t) => {
    await assert.rejects(withTimeout(5, signalOf(t).signal, never), TimeoutError);
  });

  it("aborts the work's signal at the deadline and with the parent", async (t) => {
    const controller = signalOf(t);
    const aborted = Promise.withResolvers<void>();
    const work = (limit: AbortSignal): Promise<never> =>
      new Promise((_resolve, reject) => {
        onAbort(limit, () => {
          aborted.resolve();
          reject(new Error("its own"));
        });
      });
    await assert.rejects(withTimeout(5, undefined, work), /not done within 0.005 s/);
    await aborted.promise;
    const waiting = withTimeout(1_000, controller.signal, work);
    controller.abort(STOPPED);
    await assert.rejects(waiting, STOPPED);
    await assert.rejects(withTimeout(1_000, controller.signal, work), STOPPED);
  });
});

describe("a deadline", () => {
  it("aborts with a TimeoutError, or with the reason that it was given", async () => {
    const plain = startDeadline(5);
    const reasoned = startDeadline(5, { reason: (ms) => new Error(`${ms} ms`) });
    await assert.rejects(abortable(never(), plain.signal), TimeoutError);
    await assert.rejects(abortable(never(), reasoned.signal), /^Error: 5 ms$/);
    assert.deepEqual([plain.isOver(), reasoned.isOver()], [true, true]);
  });

  it("is put off by each renewal, and shortened by a smaller limit only", async () => {
    const deadline = startDeadline(40);
    for (let times = 0; times < 4; times += 1) {
      await pause(20, NEVER);
      deadline.renew(1_000);
    }
    assert.equal(deadline.signal.aborted, false);
    deadline.renew(1);
    await assert.rejects(abortable(never(), deadline.signal), /within 0.001 s/);
  });

  it("is aborted with its parent, and is not over then", (t) => {
    const controller = signalOf(t);
    const deadline = startDeadline(1_000, { parent: controller.signal });
    controller.abort(STOPPED);
    assert.equal(deadline.signal.reason, STOPPED);
    assert.equal(deadline.isOver(), false);
    assert.equal(startDeadline(1_000, { parent: controller.signal }).signal.reason, STOPPED);
  });

  it("aborts what still runs when it is closed", (t) => {
    const deadline = startDeadline(1_000, { parent: signalOf(t).signal });
    deadline.close();
    assert.equal(deadline.signal.aborted, true);
    assert.equal(deadline.isOver(), false);
  });
});

describe("a semaphore", () => {
  it("gives slots in the order of the calls, and takes each back once", async (t) => {
    const semaphore = createSemaphore(1);
    const { signal } = signalOf(t);
    const first = await semaphore.acquire(1_000, signal);
    const order: string[] = [];
    const acquire = async (name: string): Promise<() => void> => {
      const release = await semaphore.acquire(1_000, signal);
      order.push(name);
      return release;
    };
    const [second, third] = [acquire("second"), acquire("third")];
    const leaving = signalOf(t);
    const left = semaphore.acquire(1_000, leaving.signal);
    leaving.abort(STOPPED);
    await assert.rejects(left, STOPPED);
    first();
    first();
    (await second)();
    (await third)();
    assert.deepEqual(order, ["second", "third"]);
  });

  it("does not lose a slot that becomes free as a caller stops waiting", async (t) => {
    const semaphore = createSemaphore(1);
    const release = await semaphore.acquire(1_000, signalOf(t).signal);
    const leaving = signalOf(t);
    const left = semaphore.acquire(1_000, leaving.signal);
    leaving.abort(STOPPED);
    release();
    await assert.rejects(left, STOPPED);
    (await semaphore.acquire(1_000, signalOf(t).signal))();
  });

  it("throws when no slot becomes free in time", async (t) => {
    const semaphore = createSemaphore(1);
    const { signal } = signalOf(t);
    const release = await semaphore.acquire(1_000, signal);
    await assert.rejects(semaphore.acquire(5, signal), TimeoutError);
    release();
    (await semaphore.acquire(5, signal))();
  });
});

describe("a fair semaphore", () => {
  it("leaves slots to others when an owner has its share", async (t) => {
    const semaphore = createFairSemaphore(2, 1);
    const { signal } = signalOf(t);
    const release = await semaphore.acquire("a", 1_000, signal);
    await assert.rejects(semaphore.acquire("a", 5, signal), TimeoutError);
    const other = await semaphore.acquire("b", 1_000, signal);
    await assert.rejects(semaphore.acquire("c", 5, signal), TimeoutError);
    release();
    release();
    (await semaphore.acquire("c", 1_000, signal))();
    other();
  });

  it("gives the share back when no slot became free", async (t) => {
    const semaphore = createFairSemaphore(1, 1);
    const { signal } = signalOf(t);
    const release = await semaphore.acquire("a", 1_000, signal);
    await assert.rejects(semaphore.acquire("b", 5, signal), TimeoutError);
    release();
    (await semaphore.acquire("b", 1_000, signal))();
  });
});

describe("a serial queue", () => {
  it("runs one piece of work after the other, past failures", async () => {
    const run = createSerialQueue();
    const order: string[] = [];
    const work = (name: string, ms: number) => async (): Promise<string> => {
      order.push(`${name} begins`);
      await pause(ms, NEVER);
      order.push(`${name} ends`);
      return name;
    };
    const results = await Promise.allSettled([
      run(work("a", 10)),
      run(() => Promise.reject(new Error("no"))),
      run(work("b", 1)),
      run(() => "c"),
    ]);
    assert.deepEqual(order, ["a begins", "a ends", "b begins", "b ends"]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ["fulfilled", "rejected", "fulfilled", "fulfilled"],
    );
  });
});

it("once runs at the first call only", () => {
  let runs = 0;
  const run = once(() => (runs += 1));
  run();
  run();
  assert.equal(runs, 1);
});

describe("a shared run", () => {
  it("serves all that ask while another runs, and begins after they asked", async () => {
    const ends: (() => void)[] = [];
    const run = createSharedRun(async () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const number = ends.push(resolve);
      await promise;
      return number;
    });
    const first = run();
    const [second, third] = [run(), run()];
    ends[0]?.();
    assert.equal(await first, 1);
    const fourth = run();
    ends[1]?.();
    assert.deepEqual(await Promise.all([second, third]), [2, 2]);
    ends[2]?.();
    assert.equal(await fourth, 3);
    const last = run();
    ends[3]?.();
    assert.equal(await last, 4);
  });

  it("goes on after one that failed", async () => {
    let runs = 0;
    const run = createSharedRun(async () => {
      runs += 1;
      if (runs === 1) throw STOPPED;
      return runs;
    });
    const [first, second] = [run(), run()];
    await assert.rejects(first, STOPPED);
    assert.equal(await second, 2);
  });
});
