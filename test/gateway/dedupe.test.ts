import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { Request } from "../../src/gateway/contract.ts";
import { Dedupe } from "../../src/gateway/dedupe.ts";
import { runs } from "../support/runs.ts";
import { ask } from "./client.ts";
import { createManualClock } from "./manual-clock.ts";
import type { ManualClock } from "./manual-clock.ts";

const WINDOW_MS = 1000;
const ROWS = 4;

interface Entry {
  readonly number: number;
}

interface Real {
  readonly clock: ManualClock;
  readonly dedupe: Dedupe<Entry>;
}

/** All events in order; the rules are searches through them. */
interface Model {
  readonly history: {
    readonly name: string;
    readonly request: Request;
    readonly entry: Entry;
    state: "running" | "replaced" | "finished";
    finishedAt: number;
    failed: boolean;
  }[];
  /** The remembered entries, in the order of their ends. */
  finishes: number[];
  now: number;
}

function nameOf({ client, key, fingerprint }: Request): string {
  return key === undefined ? `${client} says ${fingerprint}` : `${client} calls it ${key}`;
}

/** Whether a request with this text is an earlier one. */
function expected(model: Readonly<Model>, request: Request) {
  const rows = model.history.filter(({ name }) => name === nameOf(request));
  if (request.key === undefined && !request.redelivered) return {};
  const last = rows.at(-1);
  if (last?.state === "running") return { running: last.entry };
  const isKept =
    last?.state === "finished" &&
    model.finishes.includes(last.entry.number) &&
    model.now - last.finishedAt < WINDOW_MS &&
    (!last.failed || request.redelivered);
  return isKept ? { finished: last.entry } : {};
}

type Step = fc.AsyncCommand<Model, Real>;

const request = fc.record({
  client: fc.constantFrom("a", "b"),
  name: fc.constantFrom("1", "2"),
  hasKey: fc.boolean(),
  redelivered: fc.boolean(),
});
type Asked = typeof request extends fc.Arbitrary<infer T> ? T : never;

function requestOf({ client, name, hasKey, redelivered }: Asked): Request {
  const facts = { client, redelivered, fingerprint: `f${name}`, ...(hasKey ? { key: name } : {}) };
  return ask("same words", facts).request;
}

/** Sends a request, and runs it when it is new. */
const askStep = (asked: Asked): Step => ({
  check: () => true,
  async run(model, { dedupe }) {
    const wanted = requestOf(asked);
    const { running, finished } = {
      running: undefined,
      finished: undefined,
      ...expected(model, wanted),
    };
    assert.equal(dedupe.running(wanted), running);
    if (running === undefined) assert.equal(dedupe.finished(wanted), finished);
    if (running !== undefined || finished !== undefined) return;
    const name = nameOf(wanted);
    for (const row of model.history) {
      if (row.name !== name) continue;
      model.finishes = model.finishes.filter((number) => number !== row.entry.number);
      row.state = "replaced";
    }
    const entry = { number: model.history.length };
    const row = { name, request: wanted, entry, finishedAt: 0, failed: false };
    model.history.push({ ...row, state: "running" });
    dedupe.begin(wanted, entry);
  },
  toString: () => `ask(${JSON.stringify(asked)})`,
});

const finishStep = (nth: number, failed: boolean): Step => ({
  check: (model) => model.history.length > 0,
  async run(model, { dedupe }) {
    const row = model.history.at(-1 - (nth % model.history.length));
    if (row === undefined) return;
    dedupe.finish(row.request, row.entry, { bytes: 0, failed });
    if (row.state !== "running") return;
    Object.assign(row, { state: "finished", finishedAt: model.now, failed });
    model.finishes = [...model.finishes, row.entry.number].slice(-ROWS);
  },
  toString: () => `finish(${nth}, ${failed})`,
});

const waitStep = (ms: number): Step => ({
  check: () => true,
  async run(model, { clock }) {
    model.now += ms;
    await clock.advance(ms);
  },
  toString: () => `wait(${ms})`,
});

function setup(): { model: Model; real: Real } {
  const clock = createManualClock();
  const bounds = { windowMs: WINDOW_MS, rows: ROWS, bytes: 1e9 };
  return {
    model: { history: [], finishes: [], now: 0 },
    real: { clock, dedupe: new Dedupe<Entry>({ clock, ...bounds }) },
  };
}

describe("dedupe", () => {
  it("knows the same request again, as long as the rules say and no longer", async () => {
    const steps = fc.commands(
      [
        request.map(askStep),
        request.map(askStep),
        fc.tuple(fc.nat(5), fc.boolean()).map(([nth, failed]) => finishStep(nth, failed)),
        fc.constantFrom(1, 400, 999, 1000).map(waitStep),
      ],
      { maxCommands: 40, size: "max" },
    );
    await fc.assert(
      fc.asyncProperty(steps, async (commands) => {
        await fc.asyncModelRun(setup, commands);
      }),
      { numRuns: runs(300) },
    );
  });

  it("forgets the oldest answers first when they are too many bytes", () => {
    const clock = createManualClock();
    const dedupe = new Dedupe<number>({ clock, windowMs: 1000, rows: 100, bytes: 10_000 });
    const asked = [0, 1, 2].map((number) => ask("", { key: `${number}` }).request);
    for (const [number, each] of asked.entries()) {
      dedupe.begin(each, number);
      dedupe.finish(each, number, { bytes: 4000, failed: false });
    }
    assert.deepEqual(
      asked.map((each) => dedupe.finished(each)),
      [undefined, 1, 2],
    );
  });

  it("remembers no answer that nobody can ask for again", () => {
    const clock = createManualClock();
    const dedupe = new Dedupe<number>({ clock, windowMs: 1000, rows: 1, bytes: 10_000 });
    const { request: keyed } = ask("", { key: "k" });
    const { request: unique } = ask("", { once: true });
    for (const [number, each] of [keyed, unique].entries()) {
      dedupe.begin(each, number);
      dedupe.finish(each, number, { bytes: 4000, failed: false });
    }
    assert.equal(dedupe.finished({ ...unique, redelivered: true }), undefined);
    assert.equal(dedupe.finished(keyed), 0);
  });

  it("counts right when requests fail and run again", () => {
    const clock = createManualClock();
    const dedupe = new Dedupe<number>({ clock, windowMs: 1000, rows: 100, bytes: 10_000 });
    const { request: other } = ask("", { key: "other" });
    dedupe.begin(other, 0);
    dedupe.finish(other, 0, { bytes: 4000, failed: false });
    const { request: failing } = ask("", { key: "failing" });
    for (let number = 1; number < 100; number++) {
      dedupe.begin(failing, number);
      dedupe.finish(failing, number, { bytes: 4000, failed: true });
    }
    assert.equal(dedupe.finished(other), 0);
  });

  it("never takes one client's request for another's, however their names are put together", () => {
    const clock = createManualClock();
    const dedupe = new Dedupe<string>({ clock, windowMs: 1000, rows: 100, bytes: 10_000 });
    const [one, other] = [
      ask("", { channel: "a", client: "bc", key: "k" }),
      ask("", { channel: "ab", client: "c", key: "k" }),
    ];
    dedupe.begin(one.request, "one");
    assert.equal(dedupe.running(one.request), "one");
    assert.equal(dedupe.running(other.request), undefined);
    const long = ask("", { client: "x".repeat(60_000), key: "k" });
    const longer = ask("", { client: "x".repeat(60_001), key: "k" });
    dedupe.begin(long.request, "long");
    assert.equal(dedupe.running(long.request), "long");
    assert.equal(dedupe.running(longer.request), undefined);
  });
});
