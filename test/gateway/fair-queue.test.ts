import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { Lanes } from "../../src/gateway/request/fair-queue.ts";
import type { LaneKey, Reservation } from "../../src/gateway/request/fair-queue.ts";
import type { Hold } from "../../src/gateway/request/slots.ts";
import { runs } from "../support/runs.ts";
import { createManualClock } from "./manual-clock.ts";

interface Job {
  readonly lane: string;
  readonly number: number;
  cancelled: boolean;
}

interface Started {
  readonly job: Job;
  readonly hold: Hold;
  inTurn: boolean;
}

/** The real lanes with the started jobs that are not done. */
interface Real {
  readonly lanes: Lanes<Job>;
  readonly open: Map<string, Started>;
  readonly order: Job[];
}

/** A simple model: one list of jobs, searched from the start each time. */
interface Model {
  readonly slots: number;
  readonly busyPerChannel: number;
  readonly jobs: { job: Job; state: "waiting" | "turn" | "delivery" | "done" }[];
  /** For each waiting lane: the lanes that got a slot since. */
  readonly overtakenBy: Map<string, string[]>;
  readonly reserved: Map<string, Reservation<Job>>;
  seen: number;
}

const LANES = ["a", "b", "c", "d"];
const CHANNELS: Readonly<Record<string, string>> = { a: "one", b: "one", c: "two", d: "two" };
const channelOf = (lane: string): string => CHANNELS[lane] ?? "three";
const keyOf = (lane: string): LaneKey => ({ lane, channel: channelOf(lane) });

function createReal(slots: number, busyPerChannel = 100): Real {
  const open = new Map<string, Started>();
  const order: Job[] = [];
  const lanes = new Lanes<Job>({
    slots,
    busyPerChannel,
    clock: createManualClock(),
    needs: (job) => (job.cancelled ? "delivery" : "turn"),
    start(job, hold) {
      assert.equal(open.has(job.lane), false, "one job of a lane at a time");
      order.push(job);
      open.set(job.lane, { job, hold, inTurn: hold.tookSlot });
    },
  });
  return { lanes, open, order };
}

/** Updates the model with the started jobs and checks the rules. */
function check(model: Model, { order, open, lanes }: Real): void {
  const waiting = (lane: string) =>
    model.jobs.filter(({ job, state }) => job.lane === lane && state === "waiting");
  const busy = (lane: string) =>
    model.reserved.has(lane) ||
    model.jobs.some(
      ({ job, state }) => job.lane === lane && (state === "turn" || state === "delivery"),
    );
  for (const job of order.slice(model.seen)) {
    const row = waiting(job.lane)[0];
    assert.equal(row?.job, job, "a lane keeps its order");
    assert.equal(busy(job.lane), false);
    const inTurn = open.get(job.lane)?.hold.tookSlot ?? false;
    assert.equal(inTurn, !job.cancelled);
    row.state = inTurn ? "turn" : "delivery";
    model.overtakenBy.delete(job.lane);
    if (inTurn) overtake(model, job.lane);
  }
  model.seen = order.length;

  const turns = model.jobs.filter(({ state }) => state === "turn").length;
  const running = turns + model.reserved.size;
  assert.ok(running <= model.slots, "no more turns than slots");
  for (const lane of LANES) {
    const [first] = waiting(lane);
    assert.equal(lanes.waiting(lane), waiting(lane).length);
    const busyLanes = busyIn(model, channelOf(lane));
    assert.ok(busyLanes <= model.busyPerChannel, "no more busy lanes than a channel may have");
    if (first === undefined || busy(lane)) continue;
    if (busyLanes < model.busyPerChannel) {
      assert.equal(running, model.slots, "no lane waits while a slot is free");
      assert.equal(first.job.cancelled, false, "what needs no slot does not wait for one");
    }
    const others = model.overtakenBy.get(lane) ?? [];
    model.overtakenBy.set(lane, others);
    assert.equal(new Set(others).size, others.length, "nobody is served twice meanwhile");
  }
  const inUse = model.jobs.filter(({ state }) => state !== "done").map(({ job }) => job.lane);
  const lanesInUse = new Set([...inUse, ...model.reserved.keys()]);
  assert.equal(lanes.size, lanesInUse.size, "an idle lane costs nothing");
}

function overtake({ overtakenBy, busyPerChannel }: Model, lane: string): void {
  for (const [other, lanes] of overtakenBy) {
    // While its channel is full, a lane is overtaken by those of other channels.
    if (busyPerChannel > 1 || channelOf(other) === channelOf(lane)) lanes.push(lane);
  }
}

function busyIn(model: Readonly<Model>, channel: string): number {
  const started = model.jobs.filter(({ state }) => state === "turn" || state === "delivery");
  const lanes = [...started.map(({ job }) => job.lane), ...model.reserved.keys()];
  return lanes.filter((lane) => channelOf(lane) === channel).length;
}

type Step = fc.Command<Model, Real>;

const command = (
  name: string,
  possible: (model: Readonly<Model>) => boolean,
  run: (model: Model, real: Real) => void,
): Step => ({
  check: possible,
  run(model, real) {
    run(model, real);
    check(model, real);
  },
  toString: () => name,
});

const inState = (model: Readonly<Model>, lane: string, state: string) =>
  model.jobs.find(({ job, state: now }) => job.lane === lane && now === state);

const add = (lane: string): Step =>
  command(
    `add(${lane})`,
    () => true,
    (model, { lanes }) => {
      const job: Job = { lane, number: model.jobs.length, cancelled: false };
      model.jobs.push({ job, state: "waiting" });
      lanes.add(keyOf(lane), job);
    },
  );

const reserve = (lane: string): Step =>
  command(
    `reserve(${lane})`,
    () => true,
    (model, { lanes }) => {
      const isIdle = lanes.items(lane).length === 0 && !lanes.isReserved(lane);
      const inTurn = model.jobs.filter(({ state }) => state === "turn").length;
      const isFree = inTurn + model.reserved.size < model.slots;
      const isFull = busyIn(model, channelOf(lane)) >= model.busyPerChannel;
      const reservation = lanes.reserve(keyOf(lane));
      assert.equal(reservation !== undefined, isIdle && isFree && !isFull);
      if (reservation !== undefined) model.reserved.set(lane, reservation);
    },
  );

/** A reserved lane gets its job, before the jobs that were added meanwhile, or is cancelled. */
const endReservation = (lane: string, how: "start" | "cancel"): Step =>
  command(
    `${how} reserved(${lane})`,
    (model) => model.reserved.has(lane),
    (model) => {
      const reservation = model.reserved.get(lane);
      model.reserved.delete(lane);
      if (how === "cancel") return reservation?.cancel();
      const job: Job = { lane, number: model.jobs.length, cancelled: false };
      const first = model.jobs.findIndex((row) => row.job.lane === lane && row.state === "waiting");
      model.jobs.splice(first === -1 ? model.jobs.length : first, 0, { job, state: "waiting" });
      reservation?.start(job);
    },
  );

const endTurn = (lane: string): Step =>
  command(
    `endTurn(${lane})`,
    (model) => inState(model, lane, "turn") !== undefined,
    (model, { open }) => {
      const row = inState(model, lane, "turn");
      if (row) row.state = "delivery";
      open.get(lane)?.hold.turnEnded();
    },
  );

const deliver = (lane: string, state: "turn" | "delivery"): Step =>
  command(
    `deliver(${lane} in ${state})`,
    (model) => inState(model, lane, state) !== undefined,
    (model, { open }) => {
      const row = inState(model, lane, state);
      if (row) row.state = "done";
      const started = open.get(lane);
      open.delete(lane);
      started?.hold.done();
      started?.hold.done();
      started?.hold.turnEnded();
    },
  );

const cancelWaiting = (lane: string): Step =>
  command(
    `cancel(${lane})`,
    (model) => inState(model, lane, "waiting") !== undefined,
    (model, { lanes }) => {
      for (const { job, state } of model.jobs) {
        if (job.lane === lane && state === "waiting") job.cancelled = true;
      }
      lanes.recheck(lane);
    },
  );

describe("lanes", () => {
  it("preserve order, fill the slots, and serve round robin, whatever happens in which order", () => {
    const lane = fc.constantFrom(...LANES);
    const small = fc.integer({ min: 1, max: 3 });
    const steps = fc.commands(
      [
        lane.map(add),
        lane.map(add),
        lane.map(endTurn),
        lane.map((name) => deliver(name, "delivery")),
        lane.map((name) => deliver(name, "turn")),
        lane.map(cancelWaiting),
        lane.map(reserve),
        lane.map((name) => endReservation(name, "start")),
        lane.map((name) => endReservation(name, "cancel")),
      ],
      { maxCommands: 60, size: "max" },
    );
    fc.assert(
      fc.property(fc.tuple(small, small), steps, ([slots, busyPerChannel], commands) => {
        const setup = () => ({
          model: {
            slots,
            busyPerChannel,
            jobs: [],
            overtakenBy: new Map<string, string[]>(),
            reserved: new Map<string, Reservation<Job>>(),
            seen: 0,
          },
          real: createReal(slots, busyPerChannel),
        });
        fc.modelRun(setup, commands);
      }),
      { numRuns: runs(500) },
    );
  });

  it("let a client wait for one turn at the most while another floods", () => {
    const { lanes, open, order } = createReal(1);
    for (let number = 0; number < 1000; number++) {
      lanes.add(keyOf("flood"), { lane: "flood", number, cancelled: false });
    }
    const turnsUntilServed = (number: number): number => {
      const before = order.length;
      lanes.add(keyOf("quiet"), { lane: "quiet", number, cancelled: false });
      while (order.at(-1)?.lane !== "quiet") finish(open);
      const waited = order.length - before;
      finish(open);
      return waited;
    };
    for (let number = 0; number < 100; number++) assert.equal(turnsUntilServed(number), 1);
    assert.equal(order.filter(({ lane }) => lane === "flood").length, 101);
  });

  it("free the slot at the end of the turn, and the lane only with the delivery", () => {
    const { lanes, open, order } = createReal(1);
    lanes.add(keyOf("a"), { lane: "a", number: 0, cancelled: false });
    lanes.add(keyOf("a"), { lane: "a", number: 1, cancelled: false });
    lanes.add(keyOf("b"), { lane: "b", number: 0, cancelled: false });
    open.get("a")?.hold.turnEnded();
    assert.deepEqual(
      order.map(({ lane, number }) => `${lane}${number}`),
      ["a0", "b0"],
    );
    open.get("b")?.hold.turnEnded();
    assert.equal(order.length, 2);
    const { hold } = open.get("a") ?? assert.fail();
    open.delete("a");
    hold.done();
    assert.equal(order.length, 3);
  });
});

function finish(open: Map<string, Started>): void {
  const [started] = open.values();
  if (started === undefined) assert.fail("nothing runs");
  open.delete(started.job.lane);
  started.hold.done();
}

describe("items that can wait", () => {
  it("start after those that came up to a thousand lanes later, and not after more", () => {
    const started: string[] = [];
    const holds: Hold[] = [];
    const lanes = new Lanes<string>({
      slots: 1,
      busyPerChannel: 10_000,
      clock: createManualClock(),
      needs: () => "turn",
      canWait: (item) => item.startsWith("push"),
      start(item, hold) {
        started.push(item);
        holds.push(hold);
      },
    });
    const enqueue = (name: string): void => lanes.add({ lane: name, channel: "one" }, name);
    const end = (): void => holds.pop()?.done();
    enqueue("first");
    enqueue("push 1");
    enqueue("push 2");
    for (let number = 1; number <= 1001; number += 1) enqueue(`client ${number}`);
    assert.equal(lanes.spare, -1003);
    for (let turns = 1; turns <= 1004; turns += 1) end();
    assert.deepEqual(started.slice(0, 3), ["first", "client 1", "client 2"]);
    const last = ["client 999", "push 1", "client 1000", "push 2", "client 1001"];
    assert.deepEqual(started.slice(-5), last);
  });
});
