import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Claim, Store, StoreOptions, Ticket } from "../../src/store/contract.ts";

/** A store under test: opened again it is what the next process finds; its time stands still until told. */
export interface StoreUnderTest extends AsyncDisposable {
  /** The next process: the former one is dead, and did not close. */
  open(facts?: Partial<StoreOptions>): Promise<Store<string>>;
  pass(ms: number): void;
}

const WINDOW_MS = 600_000;
export const LEASE_MS = 60_000;
export const BOUNDS = {
  leaseMs: LEASE_MS,
  windowMs: WINDOW_MS,
  rows: 100,
  bytes: 1_000_000,
  messages: 6,
  characters: 10_000,
};

export function ticket(text: string, facts: Partial<Ticket> = {}): Ticket {
  return {
    name: `name of ${text}`,
    lane: "lane",
    channel: "mqtt",
    client: "device",
    text,
    stream: true,
    address: '["/device/response",null]',
    acceptedAt: 1,
    mayRepeat: true,
    retriesFailed: false,
    ...facts,
  };
}

/** Accepts what must be new. */
export async function accepted<M>(store: Store<M>, wanted: Ticket): Promise<Claim> {
  const acceptance = await store.accept(wanted);
  assert.ok(acceptance.is === "new", `${wanted.text} is known`);
  return acceptance.claim;
}

/** From its acceptance to the delivery of its answer. */
export async function done(
  store: Store<string>,
  wanted: Ticket,
  parts: readonly string[] = ["!"],
): Promise<void> {
  const claim = await store.begin(await accepted(store, wanted));
  assert.ok(claim);
  assert.ok(await store.answered(claim, { parts }, [wanted.text, parts.join("")]));
  assert.ok(await store.delivered(claim));
}

const FAILED = { parts: [], failure: { code: "model", message: "it failed", retryAfter: 3 } };

/** What every store promises. */
export function storeContract(name: string, create: () => Promise<StoreUnderTest>): void {
  describe(`${name}: requests`, () => {
    it("are new once, and known by name while they run and after they were answered", async () => {
      await using home = await create();
      const store = await home.open();
      const claim = await accepted(store, ticket("?"));
      const second = await store.accept(ticket("?"));
      assert.ok(second.is === "known");
      assert.deepEqual(second.held.claim, claim);
      assert.equal(second.held.answer, undefined);
      const begun = await store.begin(claim);
      assert.ok(begun);
      await store.answered(begun, { parts: ["a", "b"] }, []);
      await store.delivered(begun);
      const third = await store.accept(ticket("?"));
      assert.ok(third.is === "known");
      assert.deepEqual(third.held.answer, { parts: ["a", "b"] });
    });

    it("that nobody named are new each time", async () => {
      await using home = await create();
      const store = await home.open();
      const nameless = ticket("?", { mayRepeat: false });
      const [first, second] = [await accepted(store, nameless), await accepted(store, nameless)];
      assert.ok(second.seq > first.seq);
    });

    it("that failed are tried anew when they are asked again, and repeated when delivered again", async () => {
      await using home = await create();
      const store = await home.open();
      const claim = await store.begin(await accepted(store, ticket("?")));
      assert.ok(claim);
      await store.answered(claim, FAILED, []);
      await store.delivered(claim);
      const again = await store.accept(ticket("?", { retriesFailed: false }));
      assert.ok(again.is === "known");
      assert.deepEqual(again.held.answer, FAILED);
      await accepted(store, ticket("?", { retriesFailed: true }));
    });

    it("are forgotten after the window, with and without a purge", async () => {
      await using home = await create();
      const store = await home.open();
      await done(store, ticket("1"));
      home.pass(WINDOW_MS - 1);
      assert.equal((await store.finished()).length, 1);
      assert.equal((await store.accept(ticket("1"))).is, "known");
      home.pass(1);
      assert.deepEqual(await store.finished(), []);
      await accepted(store, ticket("1"));
      await store.purge();
    });

    it("beyond the bounds of rows and bytes are forgotten, the oldest first; none that is open", async () => {
      await using home = await create();
      const store = await home.open({ bounds: { ...BOUNDS, rows: 3 } });
      const open = await accepted(store, ticket("open"));
      for (const text of ["1", "2", "3", "4"]) {
        await done(store, ticket(text));
        home.pass(1);
      }
      await store.purge();
      const names = (await store.finished()).map(({ name: found }) => found);
      assert.deepEqual(
        names,
        ["2", "3", "4"].map((text) => `name of ${text}`),
      );
      assert.ok(await store.begin(open));

      const later = await home.open({ bounds: { ...BOUNDS, bytes: 4000 }, sole: true });
      await done(later, ticket("large"), ["x".repeat(2000)]);
      await later.purge();
      const kept = (await later.finished()).map(({ name: found }) => found);
      assert.equal(kept.at(-1), "name of large");
      assert.ok(kept.length < 4, kept.join());
    });

    it("keep every byte of an answer", async () => {
      await using home = await create();
      const store = await home.open();
      const parts = ["", "a\u0000b", "😀", "\ud83d", "\n\u2028", "x".repeat(100_000)];
      await done(store, ticket("?"), parts);
      const [kept] = await (await home.open()).finished();
      assert.deepEqual(kept?.answer.parts, parts);
    });
  });

  describe(`${name}: fencing`, () => {
    it("lets only the claim in force write", async () => {
      await using home = await create();
      const store = await home.open();
      const claim = await accepted(store, ticket("?"));
      const begun = await store.begin(claim);
      assert.deepEqual(begun, { ...claim, attempt: 1 });
      const stale: readonly Claim[] = [
        claim,
        { ...begun, owner: "else" },
        { ...begun, attempt: 2 },
        { ...begun, seq: 99 },
      ];
      for (const each of stale) {
        assert.equal(await store.begin(each), undefined);
        assert.equal(await store.record(each, "step"), false);
        assert.equal(await store.answered(each, { parts: ["wrong"] }, ["wrong"]), false);
        assert.equal(await store.expire(each, { parts: ["wrong"] }), false);
        assert.equal(await store.delivered(each), false);
        assert.equal(await store.release(each), false);
      }
      assert.deepEqual(await store.history("lane"), []);
      assert.equal(await store.answered(begun, { parts: ["right"] }, ["q", "a"]), true);
      assert.equal(await store.answered(begun, { parts: ["twice"] }, ["q", "a"]), false);
      assert.equal(await store.begin(begun), undefined);
      assert.equal(await store.delivered(begun), true);
      assert.equal(await store.delivered(begun), false);
      assert.deepEqual(await store.history("lane"), ["q", "a"]);
    });

    it("expires only what never ran", async () => {
      await using home = await create();
      const store = await home.open();
      const waiting = await accepted(store, ticket("1"));
      assert.equal(await store.answered(waiting, { parts: [] }, ["q"]), false);
      assert.equal(await store.expire(waiting, FAILED), true);
      assert.equal(await store.delivered(waiting), true);
      const running = await store.begin(await accepted(store, ticket("2")));
      assert.ok(running);
      assert.equal(await store.expire(running, FAILED), false);
      assert.deepEqual(await store.history("lane"), []);
    });
  });

  describe(`${name}: conversations`, () => {
    it("give the latest whole turns within their bounds, and at least the last one", async () => {
      await using home = await create();
      const store = await home.open();
      for (const turn of ["1", "2", "3", "4"]) await store.append("a", [`q${turn}`, `a${turn}`]);
      assert.deepEqual(await store.history("a"), ["q2", "a2", "q3", "a3", "q4", "a4"]);
      assert.deepEqual(await store.history("b"), []);
      await store.append(
        "b",
        Array.from({ length: 9 }, (_, index) => `${index}`),
      );
      assert.equal((await store.history("b")).length, 9);
    });
  });
}

/** What a store promises to the process after the one that died. */
export function restartContract(name: string, create: () => Promise<StoreUnderTest>): void {
  describe(`${name}: after a restart`, () => {
    it("what is left is taken over once, in order, with what was done so far", async () => {
      await using home = await create();
      const first = await home.open();
      const waiting = await accepted(first, ticket("waiting"));
      const running = await first.begin(await accepted(first, ticket("running")));
      const answered = await first.begin(await accepted(first, ticket("answered")));
      await done(first, ticket("done"));
      assert.ok(running && answered);
      await first.record(running, "step 1");
      await first.record(running, "step 2");
      await first.answered(answered, { parts: ["42"] }, ["q", "42"]);

      const second = await home.open({ sole: true });
      const left = await second.takeOver();
      assert.deepEqual(
        left.map(({ ticket: { text }, claim, progress, answer }) => [
          text,
          claim.attempt,
          progress,
          answer?.parts,
        ]),
        [
          ["waiting", 0, [], undefined],
          ["running", 1, ["step 1", "step 2"], undefined],
          ["answered", 1, [], ["42"]],
        ],
      );
      assert.deepEqual(await second.takeOver(), []);
      for (const stale of [waiting, running]) assert.equal(await first.begin(stale), undefined);
      assert.equal(await first.delivered(answered), false);
      for (const { claim, answer } of left) {
        if (answer) assert.ok(await second.delivered(claim));
        else assert.equal((await second.begin(claim))?.attempt, claim.attempt + 1);
      }
    });

    it("what others hold is left to them until their lease is over", async () => {
      await using home = await create();
      const first = await home.open();
      await accepted(first, ticket("?"));
      const second = await home.open();
      assert.deepEqual(await second.takeOver(), []);
      home.pass(LEASE_MS - 1);
      await first.renew();
      home.pass(LEASE_MS - 1);
      assert.deepEqual(await second.takeOver(), []);
      home.pass(1);
      assert.equal((await second.takeOver()).length, 1);
    });

    it("an attempt that was released is not counted, and anyone may take it", async () => {
      await using home = await create();
      const first = await home.open();
      const claim = await first.begin(await accepted(first, ticket("?")));
      assert.ok(claim && (await first.release(claim)));
      assert.equal(await first.begin(claim), undefined);
      const [left] = await (await home.open()).takeOver();
      assert.equal(left?.claim.attempt, 0);
    });

    it("answers and conversations are there together", async () => {
      await using home = await create();
      await done(await home.open(), ticket("hi"), ["Hello"]);
      const second = await home.open();
      assert.deepEqual(await second.history("lane"), ["hi", "Hello"]);
      assert.deepEqual((await second.finished())[0]?.answer.parts, ["Hello"]);
    });
  });
}
