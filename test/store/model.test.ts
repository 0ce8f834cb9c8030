import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { Claim, Store } from "../../src/store/contract/store.ts";
import { createMemoryStore } from "../../src/store/sqlite/store.ts";
import { needsPostgres } from "../support/postgres.ts";
import { BOUNDS, LEASE_MS, claimedAbandoned, newRequest, type StoreUnderTest } from "./contract.ts";
import { postgresHome } from "./postgres-home.ts";
import { sqliteHome } from "./sqlite-home.ts";

/** What a plain list knows of one request. */
interface Known {
  readonly text: string;
  claim: Claim;
  leaseUntil: number;
  state: "accepted" | "answered" | "delivered";
  steps: string[];
}

/** The store as a plain list; time passes only by `pass`, and stays within the window. */
interface Model {
  readonly requests: Known[];
  /** What no compaction hides. */
  readonly conversation: string[];
  summary: string | undefined;
  /** Every claim that was ever given: most of them are stale. */
  readonly claims: Claim[];
  owner: string;
  now: number;
  /** Of a store whose owners have leases, and not their requests. */
  readonly shared?: SharedModel;
}

interface SharedModel {
  readonly leases: Map<string, number>;
  /** Of the one lane. */
  laneOwner: string | undefined;
}

interface Real {
  readonly home: StoreUnderTest;
  store: Store<string>;
}

type Step = fc.AsyncCommand<Model, Real>;

const inForce = (model: Model, claim: Claim): Known | undefined =>
  model.requests.find(
    (known) =>
      known.claim.seq === claim.seq &&
      known.claim.owner === claim.owner &&
      known.claim.attempt === claim.attempt,
  );

function step(name: string, run: (model: Model, real: Real) => Promise<void>): Step {
  return { check: () => true, run, toString: () => name };
}

const accept = (text: string): Step =>
  step(`accept ${text}`, async (model, { store }) => {
    const acceptance = await store.accept(newRequest(text));
    const known = model.requests.find((each) => each.text === text);
    assert.equal(acceptance.is, known === undefined ? "new" : "known");
    if (acceptance.is === "known") {
      assert.deepEqual(acceptance.stored.claim, known?.claim);
      return;
    }
    const { claim } = acceptance;
    assert.deepEqual([claim.owner, claim.attempt], [model.owner, 0]);
    assert.ok(claim.seq > Math.max(0, ...model.requests.map((each) => each.claim.seq)));
    if (model.shared !== undefined) model.shared.laneOwner ??= model.owner;
    const leaseUntil = model.now + LEASE_MS;
    model.requests.push({ text, claim, leaseUntil, state: "accepted", steps: [] });
    model.claims.push(claim);
  });

/** A write under some claim, stale or not. */
const write = (
  name: string,
  pick: number,
  run: (
    store: Store<string>,
    claim: Claim,
    known: Known | undefined,
    model: Model,
  ) => Promise<void>,
): Step =>
  step(`${name} ${pick}`, async (model, { store }) => {
    const claim = model.claims[pick % Math.max(1, model.claims.length)];
    if (claim === undefined) return;
    // A shared store writes under the claims of its own owner only.
    const isOthers = model.shared !== undefined && claim.owner !== model.owner;
    await run(store, claim, isOthers ? undefined : inForce(model, claim), model);
  });

const isOpen = (known: Known | undefined): known is Known => known?.state === "accepted";

const begin = (pick: number): Step =>
  write("begin", pick, async (store, claim, known, model) => {
    const begun = await store.begin(claim);
    const expected = isOpen(known) ? { ...claim, attempt: claim.attempt + 1 } : undefined;
    assert.deepEqual(begun, expected);
    if (!isOpen(known) || expected === undefined) return;
    known.claim = expected;
    known.leaseUntil = model.now + LEASE_MS;
    model.claims.push(expected);
  });

const record = (pick: number): Step =>
  write("record", pick, async (store, claim, known) => {
    assert.equal(await store.record(claim, `step ${pick}`), isOpen(known));
    if (isOpen(known)) known.steps.push(`step ${pick}`);
  });

const answer = (pick: number): Step =>
  write("answer", pick, async (store, claim, known, model) => {
    const isExpected = isOpen(known) && claim.attempt > 0;
    const messages = [`q ${pick}`, `a ${pick}`];
    assert.equal(await store.answered(claim, { parts: [`${pick}`] }, messages), isExpected);
    if (!isExpected) return;
    known.state = "answered";
    model.conversation.push(...messages);
  });

const expire = (pick: number): Step =>
  write("expire", pick, async (store, claim, known) => {
    const isExpected = isOpen(known) && claim.attempt === 0;
    assert.equal(await store.expire(claim, { parts: [] }), isExpected);
    if (isExpected) known.state = "answered";
  });

const deliver = (pick: number): Step =>
  write("deliver", pick, async (store, claim, known) => {
    const isExpected = known?.state === "answered";
    assert.equal(await store.delivered(claim), isExpected);
    if (known && isExpected) known.state = "delivered";
  });

const release = (pick: number): Step =>
  write("release", pick, async (store, claim, known, model) => {
    assert.equal(await store.release(claim), isOpen(known));
    if (!isOpen(known)) return;
    if (model.shared?.laneOwner === claim.owner) model.shared.laneOwner = undefined;
    known.claim = { ...claim, owner: "", attempt: Math.max(0, claim.attempt - 1) };
    known.leaseUntil = 0;
  });

const pass = (ms: number): Step =>
  step(`pass ${ms}`, (model, { home }) => {
    home.pass(ms);
    model.now += ms;
    return Promise.resolve();
  });

/** What this owner may claim; where lanes have owners, those of others are left to them. */
function abandonedIn(model: Model): readonly Known[] {
  const { shared, owner, now } = model;
  const isOver = ({ claim, leaseUntil }: Known): boolean =>
    (shared === undefined ? leaseUntil : (shared.leases.get(claim.owner) ?? 0)) <= now;
  if (shared !== undefined && shared.laneOwner !== owner) {
    const lives = (shared.leases.get(shared.laneOwner ?? "") ?? 0) > now;
    if (lives) return [];
    shared.laneOwner = undefined;
  }
  const abandoned = model.requests.filter(
    (known) => known.state !== "delivered" && known.claim.owner !== owner && isOver(known),
  );
  if (shared !== undefined && abandoned.length > 0) shared.laneOwner = owner;
  return abandoned;
}

const claimAbandoned: Step = step("claim abandoned", async (model, { store }) => {
  const expected = abandonedIn(model);
  for (const known of expected) {
    known.claim = { ...known.claim, owner: model.owner };
    known.leaseUntil = model.now + LEASE_MS;
    model.claims.push(known.claim);
  }
  const left = await claimedAbandoned(store);
  assert.deepEqual(
    left.map(({ claim, progress }) => [claim, progress]),
    expected.map(({ claim, state, steps }) => [claim, state === "accepted" ? steps : []]),
  );
});

const remember: Step = step("history", async (model, { store }) => {
  const summary = model.summary === undefined ? [] : [model.summary];
  const shown = [...summary, ...model.conversation.slice(-BOUNDS.messages)];
  assert.deepEqual(await store.history("lane"), shown);
});

const compact = (pick: number): Step =>
  step(`compact ${pick}`, async (model, { store }) => {
    const { turns } = await store.conversation("lane");
    assert.deepEqual(
      turns.flatMap(({ messages }) => messages),
      model.conversation,
    );
    const index = pick % Math.max(1, turns.length);
    const through = turns[index]?.id;
    if (through === undefined) return;
    assert.equal(await store.compact("lane", through, `summary ${pick}`), true);
    assert.equal(await store.compact("lane", through, "again"), false);
    model.summary = `summary ${pick}`;
    model.conversation.splice(0, 2 * (index + 1));
  });

const forget: Step = step("forget", async (model, { store }) => {
  await store.append("lane", [], true);
  model.summary = undefined;
  model.conversation.length = 0;
});

const restart = (again: number): Step =>
  step("restart", async (model, real) => {
    model.owner = `owner after ${again}`;
    real.store = await real.home.open({ owner: model.owner });
    const isKnown = model.shared?.leases.has(model.owner);
    if (isKnown === false) model.shared?.leases.set(model.owner, model.now + LEASE_MS);
  });

const pick = fc.nat(30);
const commands = (more: readonly fc.Arbitrary<Step>[]) =>
  fc.commands(
    [
      fc.constantFrom("a", "b", "c", "d", "e").map(accept),
      pick.map(begin),
      pick.map(record),
      pick.map(answer),
      pick.map(expire),
      pick.map(deliver),
      pick.map(release),
      fc.constantFrom(1, LEASE_MS).map(pass),
      fc.constant(claimAbandoned),
      fc.constant(remember),
      pick.map(compact),
      fc.constant(forget),
      ...more,
    ],
    { maxCommands: 60 },
  );

async function holds(home: StoreUnderTest, steps: Iterable<Step>, isShared = false): Promise<void> {
  await using used = home;
  const owner = "first owner";
  const store = await used.open({ owner });
  const now = 1_800_000_000_000;
  const leases = new Map([[owner, now + LEASE_MS]]);
  const shared = { leases, laneOwner: undefined };
  const known = { requests: [], conversation: [], summary: undefined, claims: [] };
  const model = { ...known, owner, now, ...(isShared && { shared }) };
  await fc.asyncModelRun(() => ({ model, real: { home: used, store } }), steps);
}

function memoryHome(): StoreUnderTest {
  let now = 1_800_000_000_000;
  return {
    open: (facts) =>
      Promise.resolve(
        createMemoryStore<string>({ owner: "one", now: () => now, bounds: BOUNDS, ...facts }),
      ),
    pass(ms) {
      now += ms;
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

describe("the store's states are those of a plain list", () => {
  it("in memory", async () => {
    const property = fc.asyncProperty(commands([]), (steps) => holds(memoryHome(), steps));
    await fc.assert(property, { numRuns: 200 });
  });

  it("in SQLite, from process to process", async () => {
    const withRestarts = commands([fc.nat(1_000_000).map(restart)]);
    const property = fc.asyncProperty(withRestarts, async (steps) =>
      holds(await sqliteHome(), steps),
    );
    await fc.assert(property, { numRuns: 60 });
  });

  it("in PostgreSQL, from gateway to gateway", needsPostgres, async () => {
    const withRestarts = commands([fc.nat(1_000_000).map(restart)]);
    const property = fc.asyncProperty(withRestarts, async (steps) =>
      holds(await postgresHome(), steps, true),
    );
    await fc.assert(property, { numRuns: 25 });
  });
});
