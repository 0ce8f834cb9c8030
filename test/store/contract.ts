import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isDeepStrictEqual } from "node:util";
import type { NewConfirmation } from "../../src/store/contract/confirmations.ts";
import type { ConversationStore } from "../../src/store/contract/conversations.ts";
import type {
  Counter,
  CounterChanges,
  CounterStore,
  DayCount,
} from "../../src/store/contract/counters.ts";
import type {
  Acceptance,
  Admission,
  Claim,
  StoredRequest,
  Store,
  StoreOptions,
  NewRequest,
} from "../../src/store/contract/store.ts";
import { dayCount, daysIn } from "../../src/store/day-counts.ts";

/** A store under test: opened again it is what the next process finds; its time stands still until told. */
export interface StoreUnderTest extends AsyncDisposable {
  /** The next process: the former one is dead, and did not close. */
  open(facts?: Partial<StoreOptions>): Promise<Store<string>>;
  pass(ms: number): void;
}

/** The part of a store that knows no requests. */
type ConversationsAndCounters = ConversationStore<string> & CounterStore;

type CreateUnderTest = () => Promise<
  AsyncDisposable & {
    open(facts?: Partial<StoreOptions>): Promise<ConversationsAndCounters>;
    pass(ms: number): void;
  }
>;

const WINDOW_MS = 600_000;
export const LEASE_MS = 60_000;
export const BOUNDS = {
  leaseMs: LEASE_MS,
  windowMs: WINDOW_MS,
  rows: 100,
  bytes: 1_000_000,
  laneRows: 100,
  laneBytes: 1_000_000,
  rejections: 10,
  messages: 6,
  characters: 10_000,
  hiddenMs: 90 * 24 * 60 * 60_000,
  hiddenTurns: 20,
  hiddenBytes: 100_000,
  conversations: 20_000,
  conversationBytes: 2 ** 28,
  usedMs: 86_400_000,
  turns: 20_000,
  turnBytes: 100_000,
  turnBytesPerDay: 100_000,
  counters: 1000,
};

export function newRequest(text: string, facts: Partial<NewRequest> = {}): NewRequest {
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
export async function accepted<M>(store: Store<M>, wanted: NewRequest): Promise<Claim> {
  const acceptance = await store.accept(wanted);
  assert.ok(acceptance.is === "new", `${wanted.text} is known`);
  return acceptance.claim;
}

/** From its acceptance to the delivery of its answer. */
export async function done(
  store: Store<string>,
  wanted: NewRequest,
  parts: readonly string[] = ["!"],
): Promise<void> {
  const claim = await store.begin(await accepted(store, wanted));
  assert.ok(claim);
  assert.ok(await store.answered(claim, { parts }, [wanted.text, parts.join("")]));
  assert.ok(await store.delivered(claim));
}

/** Everything that is left, as a whole. */
export async function claimedAbandoned(store: Store<string>): Promise<StoredRequest<string>[]> {
  const left: StoredRequest<string>[] = [];
  for (const { claim, request: taken, isAnswered } of await store.claimAbandoned()) {
    const held = await store.load(claim);
    assert.ok(held);
    const { text: _text, extras: _extras, ...rest } = held.request;
    assert.deepEqual([rest, held.answer !== undefined], [taken, isAnswered]);
    left.push(held);
  }
  return left;
}

/** What is known under the name of that text; undefined where a request of it would be new, which is not left there. */
export async function remembered(
  store: Store<string>,
  text: string,
  facts: Partial<NewRequest> = {},
): Promise<StoredRequest<string> | undefined> {
  const unknown = Symbol("unknown");
  const admission: Admission = {
    admit: () => ({ parts: [], failure: { code: "busy", message: String(unknown) } }),
    repeat: () => undefined,
  };
  const acceptance = await store.accept(newRequest(text, facts), admission);
  if (acceptance.is === "answered") {
    await store.delivered(acceptance.claim);
    return undefined;
  }
  assert.ok(acceptance.is === "known" || acceptance.is === "repeated");
  if (acceptance.is === "repeated") assert.ok(await store.delivered(acceptance.stored.claim));
  return acceptance.stored;
}

const FAILED = { parts: [], failure: { code: "model", message: "it failed", retryAfter: 3 } };

/** A call that waits for a person. */
function waitingCall(id: string, facts: Partial<NewConfirmation> = {}): NewConfirmation {
  return {
    id,
    channel: "mqtt",
    client: "desk",
    tool: "exec",
    arguments: '{"command": "reboot \\u0000"}',
    by: ["phone"],
    question: "May it?",
    until: 2_000_000_000_000,
    ...facts,
  };
}

const READY = { parts: ["good morning"] };

/** Rejects every new request with this answer. */
function always(answer: typeof FAILED): Admission {
  return { admit: () => answer, repeat: () => undefined };
}

/** Takes every new request. */
function taking(decision: "wait" | "begin"): Admission {
  return { admit: () => decision, repeat: () => undefined };
}

/** Is never asked. */
function never(): Admission {
  return { admit: () => assert.fail("it is known"), repeat: () => assert.fail("it runs") };
}

/** Whether there is room for one more request in each of these lanes; none is taken. */
async function roomsOf(
  store: Store<string>,
  lanes: readonly string[],
  text = "one more",
): Promise<readonly boolean[]> {
  const rooms: boolean[] = [];
  for (const lane of lanes) {
    const admit: Admission["admit"] = (hasRoom) => {
      rooms.push(hasRoom);
      return FAILED;
    };
    const asked = newRequest(text, { lane, mayRepeat: false });
    assert.equal((await store.accept(asked, { admit, repeat: () => undefined })).is, "answered");
  }
  return rooms;
}

/** What every store promises. */
export function storeContract(name: string, create: () => Promise<StoreUnderTest>): void {
  describe(`${name}: requests`, () => {
    it("are new once, and known by name while they run and after they were answered", async () => {
      await using home = await create();
      const store = await home.open();
      const claim = await accepted(store, newRequest("?"));
      const second = await store.accept(newRequest("?"));
      assert.ok(second.is === "known");
      assert.deepEqual(second.stored.claim, claim);
      assert.equal(second.stored.answer, undefined);
      const begun = await store.begin(claim);
      assert.ok(begun);
      await store.answered(begun, { parts: ["a", "b"] }, []);
      await store.delivered(begun);
      const third = await store.accept(newRequest("?"));
      assert.ok(third.is === "known");
      assert.deepEqual(third.stored.answer, { parts: ["a", "b"] });
    });

    it("are found by name and lane, with what their client calls their conversation", async () => {
      await using home = await create();
      const store = await home.open();
      const wanted = newRequest("?", { context: "c", conversation: "of c" });
      const found = () => store.find(wanted);
      assert.equal(await found(), undefined);
      const taken = await accepted(store, wanted);
      const [first] = await Promise.all([found(), accepted(store, newRequest("other"))]);
      assert.deepEqual(first?.claim, taken);
      assert.equal(first?.request.context, "c");
      assert.equal(await store.find({ ...wanted, lane: "another" }), undefined);
      const claim = await store.begin(taken);
      assert.ok(claim);
      assert.equal((await found())?.claim.attempt, 1);
      await store.answered(claim, { parts: ["a"], failure: { code: "model", message: "!" } }, []);
      assert.equal((await found())?.answer?.failure?.code, "model");
      await store.delivered(claim);
      const { answer, request } = (await found()) ?? {};
      assert.deepEqual([answer?.parts, request?.context], [["a"], "c"]);
      home.pass(WINDOW_MS - 1);
      assert.notEqual(await found(), undefined);
      home.pass(1);
      assert.equal(await found(), undefined);
    });

    it("have further addresses until they were delivered, and not without end", async () => {
      await using home = await create();
      const store = await home.open();
      const taken = await accepted(store, newRequest("?"));
      const to = { address: "a", stream: true, id: "\ud83d" };
      assert.equal(await store.join({ seq: taken.seq + 100 }, to), false);
      assert.ok(await store.join(taken, to));
      const claim = await store.begin(taken);
      assert.ok(claim);
      assert.ok(await store.join(taken, { ...to, address: "b" }));
      assert.ok(await store.join(taken, { ...to, address: "b" }));
      assert.ok(await store.answered(claim, { parts: ["a"] }, []));
      assert.ok(await store.join(taken, { ...to, address: "c" }));
      assert.ok(await store.delivered(claim));
      assert.equal(await store.join(taken, { ...to, address: "d" }), false);
      assert.deepEqual((await remembered(store, "?"))?.answer?.parts, ["a"]);
    });

    it("keep what came with the text until they were delivered", async () => {
      await using home = await create();
      const extras = {
        format: { type: "json_schema", schema: { type: "object" } },
        images: [{ mediaType: "image/png", data: "aaaa" }],
      } as const;
      const store = await home.open();
      const taken = await accepted(store, newRequest("?", { extras }));
      assert.deepEqual((await store.load(taken))?.request.extras, extras);
      const claim = await store.begin(taken);
      assert.ok(claim);
      await store.answered(claim, { parts: ["a"] }, []);
      await store.delivered(claim);
      assert.equal((await remembered(store, "?"))?.request.extras, undefined);
    });

    it("keep images apart from the steps of their turn, across owners", async () => {
      await using home = await create();
      const images = [{ mediaType: "image/png", data: "a".repeat(100_000) }] as const;
      const first = await home.open();
      const begun = await first.begin(
        await accepted(first, newRequest("?", { extras: { images } })),
      );
      assert.ok(begun && (await first.record(begun, "step")));
      const loaded = await first.load(begun);
      assert.deepEqual([loaded?.request.extras, loaded?.progress], [{ images }, ["step"]]);
      await first.release(begun);
      const [abandoned] = await (await home.open()).claimAbandoned();
      assert.ok(abandoned !== undefined);
      assert.ok(JSON.stringify(abandoned).length < 1000, "it is not read before its turn");
    });

    it("with extras take room for them", async () => {
      await using home = await create();
      const store = await home.open({ bounds: { ...BOUNDS, laneBytes: 5000 } });
      const images = [{ mediaType: "image/png", data: "a".repeat(5000) }] as const;
      let room: boolean | undefined;
      const admit: Admission["admit"] = (hasRoom) => {
        room = hasRoom;
        return FAILED;
      };
      await store.accept(newRequest("?", { extras: { images } }), {
        admit,
        repeat: () => undefined,
      });
      assert.equal(room, false);
      assert.deepEqual(await roomsOf(store, ["lane"]), [true]);
    });

    it("that nobody named are new each time", async () => {
      await using home = await create();
      const store = await home.open();
      const nameless = newRequest("?", { mayRepeat: false });
      const [first, second] = [await accepted(store, nameless), await accepted(store, nameless)];
      assert.ok(second.seq > first.seq);
    });

    it("that failed are tried anew when they are asked again, and repeated when delivered again", async () => {
      await using home = await create();
      const store = await home.open();
      const claim = await store.begin(await accepted(store, newRequest("?")));
      assert.ok(claim);
      await store.answered(claim, FAILED, []);
      await store.delivered(claim);
      const again = await store.accept(newRequest("?", { retriesFailed: false }));
      assert.ok(again.is === "known");
      assert.deepEqual(again.stored.answer, FAILED);
      await accepted(store, newRequest("?", { retriesFailed: true }));
    });

    it("are forgotten after the window, with and without a purge", async () => {
      await using home = await create();
      const store = await home.open();
      await done(store, newRequest("1"));
      await done(store, newRequest("2"));
      home.pass(WINDOW_MS - 1);
      await store.purge();
      assert.equal((await store.accept(newRequest("1"))).is, "known");
      home.pass(1);
      await accepted(store, newRequest("1"));
      await store.purge();
      await accepted(store, newRequest("2"));
    });

    it("find no room beyond the bounds of all and of their lane; none within the window is forgotten", async () => {
      await using home = await create();
      const store = await home.open({ bounds: { ...BOUNDS, rows: 5, laneRows: 3 } });
      const open = await accepted(store, newRequest("open"));
      for (const text of ["1", "2"]) await done(store, newRequest(text));
      assert.deepEqual(await roomsOf(store, ["lane", "other"]), [false, true]);
      for (const text of ["3", "4"]) await done(store, newRequest(text, { lane: "other" }));
      assert.deepEqual(await roomsOf(store, ["lane", "other", "third"]), [false, false, false]);
      await store.purge();
      for (const text of ["1", "2"])
        assert.equal((await store.accept(newRequest(text))).is, "known");
      for (const text of ["3", "4"])
        assert.equal((await store.accept(newRequest(text, { lane: "other" }))).is, "known");
      home.pass(WINDOW_MS);
      await store.purge();
      assert.deepEqual(await roomsOf(store, ["lane", "other"]), [true, true]);
      assert.ok(await store.begin(open));
    });

    it("find no room where the texts are too large, and have it again when they were answered", async () => {
      await using home = await create();
      const store = await home.open({ bounds: { ...BOUNDS, bytes: 9000, laneBytes: 6000 } });
      const large = "x".repeat(2000);
      const claim = await accepted(store, newRequest(large));
      assert.deepEqual(await roomsOf(store, ["lane", "other"], large), [false, true]);
      const other = await accepted(store, newRequest("y".repeat(2000), { lane: "other" }));
      assert.deepEqual(await roomsOf(store, ["third"], large), [false]);
      for (const each of [claim, other]) {
        const begun = await store.begin(each);
        assert.ok(begun && (await store.answered(begun, { parts: ["!"] }, [])));
        assert.ok(await store.delivered(begun));
      }
      await store.purge();
      assert.deepEqual(await roomsOf(store, ["lane", "other", "third"], large), [true, true, true]);
    });

    it("take no room for the way back once they were delivered", async () => {
      await using home = await create();
      const store = await home.open({ bounds: { ...BOUNDS, laneBytes: 6000 } });
      await done(store, newRequest("?", { address: "x".repeat(5000) }));
      assert.deepEqual(await roomsOf(store, ["lane"], "y".repeat(2000)), [true]);
    });

    it("keep every byte of an answer", async () => {
      await using home = await create();
      const store = await home.open();
      const parts = ["", "a\u0000b", "😀", "\ud83d", "\n\u2028", "x".repeat(100_000)];
      await done(store, newRequest("?"), parts);
      const kept = await remembered(await home.open(), "?");
      assert.deepEqual(kept?.answer?.parts, parts);
    });

    it("have names and lanes that need not be well-formed", async () => {
      await using home = await create();
      const store = await home.open();
      const odd = { name: "\ud83d", lane: "\udc00", client: "\udc00", text: "" };
      const claim = await accepted(store, newRequest("?", odd));
      await accepted(store, newRequest("?", { ...odd, name: "\ud83e" }));
      const again = await (await home.open()).accept(newRequest("?", odd));
      assert.ok(again.is === "known");
      const { mayRepeat: _repeat, retriesFailed: _retry, ...kept } = newRequest("?", odd);
      assert.deepEqual([again.stored.claim, again.stored.request], [claim, kept]);
    });

    it("are loaded as a whole by the claim in force, and by no other", async () => {
      await using home = await create();
      const store = await home.open();
      const claim = await accepted(store, newRequest("?", { id: "r-1", expiresAt: 5 }));
      const { mayRepeat: _repeat, retriesFailed: _retry, ...kept } = newRequest("?");
      const whole = { claim, request: { ...kept, id: "r-1", expiresAt: 5 }, progress: [] };
      assert.deepEqual(await store.load(claim), whole);
      const begun = await store.begin(claim);
      assert.ok(begun && (await store.record(begun, "step")));
      assert.deepEqual(await store.load(begun), { ...whole, claim: begun, progress: ["step"] });
      for (const stale of [claim, { ...begun, owner: "else" }, { ...begun, seq: 99 }]) {
        assert.equal(await store.load(stale), undefined);
      }
    });

    it("are rejected with an answer that is stored, delivered and repeated like any other", async () => {
      await using home = await create();
      const store = await home.open();
      const rejected = await store.accept(newRequest("?"), always(FAILED));
      assert.ok(rejected.is === "answered");
      assert.deepEqual(rejected.answer, FAILED);
      const again = await store.accept(newRequest("?"), never());
      assert.ok(again.is === "known");
      assert.deepEqual([again.stored.claim, again.stored.answer], [rejected.claim, FAILED]);
      assert.equal(again.stored.request.text, "");
      assert.equal(await store.begin(rejected.claim), undefined);
      assert.deepEqual(await store.rejections(0, 10), [again.stored]);
      assert.ok(await store.delivered(rejected.claim));
      assert.deepEqual(await store.rejections(0, 10), []);
      const redelivered = await store.accept(newRequest("?"), {
        ...never(),
        repeat: () => undefined,
      });
      assert.ok(redelivered.is === "repeated");
      assert.deepEqual(redelivered.stored.answer, FAILED);
      assert.ok(await store.delivered(redelivered.stored.claim));
      // The asker who asks again wants a new try.
      await accepted(store, newRequest("?", { retriesFailed: true }));
    });

    it("that were answered although they were cancelled do not run again", async () => {
      await using home = await create();
      const store = await home.open();
      const claim = await store.begin(await accepted(store, newRequest("?")));
      const stop: Admission = { ...never(), admit: () => ({ stop: { parts: ["Stopped."] } }) };
      await store.accept(newRequest("/stop"), stop);
      assert.ok(claim && (await store.answered(claim, { parts: ["!"] }, ["?", "!"])));
      assert.ok(await store.delivered(claim));
      const again = await store.accept(newRequest("?", { retriesFailed: true }), {
        ...never(),
        repeat: () => undefined,
      });
      assert.ok(again.is === "repeated");
      assert.deepEqual(again.stored.answer?.parts, ["!"]);
    });

    it("that were rejected are read in order, page by page, and take no room from others", async () => {
      await using home = await create();
      const store = await home.open({ bounds: { ...BOUNDS, rows: 2 } });
      for (const text of ["1", "2", "3", "4"]) await store.accept(newRequest(text), always(FAILED));
      const first = await store.rejections(0, 3);
      const rest = await store.rejections(first.at(-1)?.claim.seq ?? 0, 3);
      assert.deepEqual(
        [...first, ...rest].map(({ request: { name: found } }) => found),
        ["1", "2", "3", "4"].map((text) => `name of ${text}`),
      );
      assert.deepEqual(await roomsOf(store, ["lane"]), [true]);
    });

    it("that were rejected and delivered are remembered up to a bound, the latest", async () => {
      await using home = await create();
      const store = await home.open({ bounds: { ...BOUNDS, rejections: 2 } });
      for (const text of ["1", "2", "3", "4"]) {
        const rejected = await store.accept(newRequest(text), always(FAILED));
        assert.ok(rejected.is === "answered" && (await store.delivered(rejected.claim)));
      }
      await store.purge();
      const kinds: Acceptance<string>["is"][] = [];
      for (const text of ["1", "2", "3", "4"]) {
        kinds.push((await store.accept(newRequest(text))).is);
      }
      assert.deepEqual(kinds, ["new", "new", "known", "known"]);
    });

    it("that were answered are undelivered again when they are repeated, to another address", async () => {
      await using home = await create();
      const store = await home.open();
      await done(store, newRequest("?"), ["a", "b"]);
      const repeat = { ...never(), repeat: () => undefined };
      const repeated = await store.accept(newRequest("?", { address: "elsewhere" }), repeat);
      assert.ok(repeated.is === "repeated");
      const { claim, answer, request: kept } = repeated.stored;
      assert.deepEqual([answer?.parts, kept.address], [["a", "b"], "elsewhere"]);
      assert.equal((await store.accept(newRequest("?"), never())).is, "known");
      const [left, ...more] = await claimedAbandoned(
        await home.open({ sole: true, owner: "next" }),
      );
      if (left !== undefined) {
        assert.deepEqual(
          [more, left.answer?.parts, left.request.address],
          [[], ["a", "b"], "elsewhere"],
        );
      } else assert.ok(await store.delivered(claim));
    });

    it("are forgotten after the window, however often they were repeated within it", async () => {
      await using home = await create();
      const store = await home.open();
      await done(store, newRequest("?"));
      const repeat = { ...never(), repeat: () => undefined };
      for (let time = 1; time <= 3; time += 1) {
        home.pass(WINDOW_MS / 4);
        const repeated = await store.accept(newRequest("?"), repeat);
        assert.ok(repeated.is === "repeated");
        assert.ok(await store.delivered(repeated.stored.claim));
      }
      home.pass(WINDOW_MS / 4);
      await accepted(store, newRequest("?"));
    });

    it("that are refused are not stored", async () => {
      await using home = await create();
      const store = await home.open();
      const refused = await store.accept(newRequest("?"), { admit: () => "refuse" });
      assert.deepEqual(refused, { is: "refused" });
      await accepted(store, newRequest("?"));
    });

    it("that are ready are answered without a turn, and take room", async () => {
      await using home = await create();
      const store = await home.open({ bounds: { ...BOUNDS, laneRows: 1 } });
      const taken = await store.accept(newRequest("!"), { admit: () => ({ ready: READY }) });
      assert.ok(taken.is === "answered");
      assert.deepEqual(taken.answer, READY);
      assert.deepEqual((await store.load(taken.claim))?.answer, READY);
      assert.deepEqual(await store.rejections(0, 10), []);
      assert.deepEqual(await roomsOf(store, ["lane"]), [false]);
      assert.ok(await store.delivered(taken.claim));
      assert.equal((await store.accept(newRequest("!"), { admit: () => "wait" })).is, "known");
    });

    it("are known for longer than the window if they have to be", async () => {
      await using home = await create();
      const store = await home.open();
      const knownUntil = Date.now() + 1e12;
      await done(store, newRequest("long", { knownUntil }));
      await done(store, newRequest("short"));
      home.pass(2 * WINDOW_MS);
      await store.purge();
      assert.equal((await store.accept(newRequest("short"), taking("wait"))).is, "new");
      const known = await store.accept(newRequest("long", { knownUntil }), { admit: () => "wait" });
      assert.equal(known.is, "known");
    });

    it("are known until they are deleted, if nothing else has their name", async () => {
      await using home = await create();
      const store = await home.open();
      const push = newRequest("push", { knownUntil: 1 });
      await done(store, push);
      home.pass(2 * WINDOW_MS);
      assert.equal((await store.accept(push, { admit: () => "wait" })).is, "known");
      await store.purge();
      assert.equal((await store.accept(push, taking("wait"))).is, "new");
    });

    it("that may not be repeated get another answer, and are known as before", async () => {
      await using home = await create();
      const store = await home.open();
      await done(store, newRequest("?"), ["a"]);
      const refused = await store.accept(newRequest("?"), { ...never(), repeat: () => FAILED });
      assert.ok(refused.is === "answered");
      assert.ok(await store.delivered(refused.claim));
      assert.deepEqual((await remembered(store, "?"))?.answer?.parts, ["a"]);
    });
  });

  describe(`${name}: confirmations`, () => {
    const MOST = { ofClient: 2, ofAll: 3 };

    it("are decided once, and kept as they were added", async () => {
      await using home = await create();
      const confirmations = await (await home.open()).confirmations();
      assert.ok(await confirmations.add(waitingCall("a"), MOST));
      assert.deepEqual(await confirmations.open(), [{ ...waitingCall("a"), state: "waiting" }]);
      const confirm = { state: "confirmed", decidedBy: "phone \ud800", until: 7 } as const;
      const moves = [
        confirmations.move("a", "waiting", confirm),
        confirmations.move("a", "waiting", { state: "denied", decidedBy: "other" }),
      ];
      assert.deepEqual(await Promise.all(moves), [true, false]);
      const decided = { ...waitingCall("a"), ...confirm };
      assert.deepEqual(await confirmations.find("a"), decided);
      assert.deepEqual(await confirmations.open(), [decided]);
      const begin = () => confirmations.move("a", "confirmed", { state: "begun" });
      assert.deepEqual([await begin(), await begin()], [true, false]);
      assert.deepEqual(await confirmations.open(), []);
      assert.equal((await confirmations.find("a"))?.state, "begun");
      assert.equal(await confirmations.find("b"), undefined);
    });

    it("of one client and of all are bounded; closed ones do not count, and are forgotten", async () => {
      await using home = await create();
      const store = await home.open();
      const confirmations = await store.confirmations();
      const add = (id: string, client: string) =>
        confirmations.add(waitingCall(id, { client, until: 1_800_000_000_000 }), MOST);
      assert.deepEqual(
        [await add("a", "one"), await add("b", "one"), await add("c", "one")],
        [true, true, false],
      );
      assert.deepEqual([await add("c", "two"), await add("d", "three")], [true, false]);
      await confirmations.move("a", "waiting", { state: "informed" });
      assert.ok(await add("d", "three"));
      home.pass(25 * 60 * 60_000);
      await confirmations.move("b", "waiting", { state: "informed" });
      assert.ok(await add("e", "four"));
      assert.equal(await confirmations.find("a"), undefined);
      assert.deepEqual(
        (await confirmations.open()).map(({ id }) => id),
        ["c", "d", "e"],
      );
    });
  });

  describe(`${name}: fencing`, () => {
    it("lets only the claim in force write", async () => {
      await using home = await create();
      const store = await home.open();
      const claim = await accepted(store, newRequest("?"));
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

    it("begins the first attempt in the transaction that accepts, when the admission says so", async () => {
      await using home = await create();
      const store = await home.open();
      const waiting = await store.accept(newRequest("1"), taking("wait"));
      const begun = await store.accept(newRequest("2"), taking("begin"));
      assert.ok(waiting.is === "new" && begun.is === "new");
      assert.deepEqual([waiting.claim.attempt, begun.claim.attempt], [0, 1]);
      assert.equal(await store.begin({ ...begun.claim, attempt: 0 }), undefined);
      assert.equal(await store.expire(begun.claim, FAILED), false);
      assert.equal(await store.record(begun.claim, "step"), true);
      assert.equal((await store.load(begun.claim))?.request.text, "2");
      assert.equal(await store.answered(begun.claim, { parts: ["!"] }, ["2", "!"]), true);
      assert.equal(await store.delivered(begun.claim), true);
      assert.deepEqual(await store.history("lane"), ["2", "!"]);
      const released = await store.accept(newRequest("3"), taking("begin"));
      assert.ok(released.is === "new");
      assert.equal(await store.release(released.claim), true);
      const left = await claimedAbandoned(store);
      assert.deepEqual(
        left.map(({ claim, request: { text } }) => [text, claim.attempt]),
        [["3", 0]],
      );
    });

    it("expires only what never ran", async () => {
      await using home = await create();
      const store = await home.open();
      const waiting = await accepted(store, newRequest("1"));
      assert.equal(await store.answered(waiting, { parts: [] }, ["q"]), false);
      assert.equal(await store.expire(waiting, FAILED), true);
      assert.equal(await store.delivered(waiting), true);
      const running = await store.begin(await accepted(store, newRequest("2")));
      assert.ok(running);
      assert.equal(await store.expire(running, FAILED), false);
      assert.deepEqual(await store.history("lane"), []);
    });
  });

  describe(`${name}: what is written with a request`, () => {
    it("counters are written before a request that was accepted after them", async () => {
      await using home = await create();
      const store = await home.open();
      const written: string[] = [];
      const keeping = store
        .count(() => put({ name: "charge", state: 1 }))
        .then(() => written.push("charge"));
      const accepting = store.accept(newRequest("?")).then(() => written.push("request"));
      await Promise.all([keeping, accepting]);
      assert.deepEqual(written, ["charge", "request"]);
    });

    it("a conversation is forgotten together with the answer that says so", async () => {
      await using home = await create();
      const store = await home.open();
      await append(store, "lane", "1");
      const claim = await store.begin(await accepted(store, newRequest("/clear")));
      assert.ok(claim);
      assert.ok(await store.answered(claim, { parts: ["done"] }, ["/clear", "done"], true));
      assert.deepEqual(await store.history("lane"), []);
      assert.deepEqual(await transcriptOf(store, "lane"), ["q1", "a1", "/clear", "done"]);
    });

    it("a conversation of several clients is stored under its own name", async () => {
      await using home = await create();
      const store = await home.open();
      const asked = newRequest("?", { conversation: "everyone" });
      const claim = await store.begin(await accepted(store, asked));
      assert.ok(claim && (await store.answered(claim, { parts: ["!"] }, ["?", "!"])));
      assert.deepEqual(await store.history("lane"), []);
      assert.deepEqual(await store.history("everyone"), ["?", "!"]);
    });
  });
  conversationContract(name, create);
  meterContract(name, create);
}

async function inOrder(store: CounterStore): Promise<readonly Counter[]> {
  return (await store.counters()).toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function put(...meters: readonly Counter[]): CounterChanges {
  return { put: meters, drop: [] };
}

function adding(counts: Partial<DayCount>): CounterChanges {
  return { put: [{ name: "a", state: { holder: {} }, add: [dayCount(1, counts)] }], drop: [] };
}

/** What every store promises of what is counted. */
function meterContract(name: string, create: CreateUnderTest): void {
  describe(`${name}: meters`, () => {
    it("are stored as they were last, under any name, for the next process", async () => {
      await using home = await create();
      const store = await home.open();
      assert.deepEqual(await store.counters(), []);
      const odd = { name: "\ud83d and\u0000nul", state: { list: [1, [2.5]], text: "\ud83d" } };
      await store.count(() => put({ name: "a", state: 1 }, { name: "b", state: 2 }, odd));
      await store.count(() => ({
        put: [{ name: "a", state: { n: 3 } }],
        drop: ["b", "c"],
      }));
      const kept = [{ name: "a", state: { n: 3 } }, odd];
      assert.deepEqual(await inOrder(store), kept);
      assert.deepEqual(await inOrder(await home.open()), kept);
      await store.count(() => ({ put: [], drop: [odd.name] }));
      assert.deepEqual(await store.counters(), [kept[0]]);
    });

    it("are taken when they are written: what changes in one go is written once", async () => {
      await using home = await create();
      const store = await home.open();
      let [count, takes] = [0, 0];
      const kept = store.count(() => {
        takes += 1;
        return put({ name: "count", state: count });
      });
      count = 5;
      await kept;
      assert.equal(takes, 1);
      assert.deepEqual(await store.counters(), [{ name: "count", state: 5 }]);
    });

    it("are looked up one by one, as they are after what was asked for before", async () => {
      await using home = await create();
      const store = await home.open();
      const odd = { name: "\ud83d and\u0000nul", state: 5, until: 7 };
      assert.equal(await store.counter("a"), undefined);
      const keeping = store.count(() => put({ name: "a", state: 1 }, odd));
      assert.deepEqual(await store.counter("a"), { name: "a", state: 1 });
      await keeping;
      void store.count(() => ({ put: [{ name: "a", state: 2 }], drop: [odd.name] }));
      assert.deepEqual(await store.counter("a"), { name: "a", state: 2 });
      assert.equal(await store.counter(odd.name), undefined);
      await store.count(() => put({ name: "b", state: 1 }, { name: "c", state: 1 }));
      assert.deepEqual(
        [(await store.counters(2)).length, (await store.counters(9)).length],
        [2, 3],
      );
    });

    it("add up by day what two writers count, and tell each of them the sum", async () => {
      await using home = await create();
      const [one, two] = [await home.open(), await home.open()];
      await one.count(() => adding({ requests: 1, inputTokens: 10, refused: { busy: 1 } }));
      const both = await Promise.all([
        one.count(() => adding({ requests: 1, outputTokens: 5 })),
        two.count(() => adding({ requests: 2, inputTokens: -4, cost: 0.5, refused: { busy: 2 } })),
      ]);
      const sum = dayCount(1, {
        requests: 4,
        inputTokens: 6,
        outputTokens: 5,
        cost: 0.5,
        refused: { busy: 3 },
      });
      const total = { name: "a", state: { holder: {}, days: [sum] } };
      assert.deepEqual(await one.counter("a"), total);
      assert.ok(both.some(([counter]) => isDeepStrictEqual(counter, total)));
      const [counter] = await two.count(() => ({
        put: [{ name: "a", state: { bucket: 7 }, add: [dayCount(1, { inputTokens: -9 })] }],
        drop: [],
      }));
      const days = [{ ...sum, inputTokens: 0 }];
      assert.deepEqual(counter, { name: "a", state: { holder: {}, bucket: 7, days } });
      assert.deepEqual(await one.counter("a"), counter);
    });

    it("remember the four days that were counted last", async () => {
      await using home = await create();
      const store = await home.open();
      for (const day of [1, 2, 3, 4, 2, 5, 6]) {
        const add = [dayCount(day, { requests: 1 })];
        await store.count(() => ({ put: [{ name: "a", state: {}, add }], drop: [] }));
      }
      const counted = daysIn((await store.counter("a"))?.state);
      assert.deepEqual(
        counted.map(({ day, requests }) => [day, requests]),
        [
          [4, 1],
          [2, 2],
          [5, 1],
          [6, 1],
        ],
      );
    });

    it("stay for a day after they counted last, and for ever where no end was named", async () => {
      await using home = await create();
      const store = await home.open();
      const until = START + HOUR_MS;
      await store.count(() =>
        put(
          { name: "a", state: 1 },
          { name: "b", state: 1, until },
          { name: "c", state: 1, until },
        ),
      );
      await store.count(() => put({ name: "c", state: 2, until: until + 1 }));
      home.pass(25 * HOUR_MS - 1);
      await store.purge();
      assert.equal((await store.counters()).length, 3);
      home.pass(1);
      await store.purge();
      assert.deepEqual(
        (await inOrder(store)).map(({ name: left }) => left),
        ["a", "c"],
      );
      home.pass(400 * 24 * HOUR_MS);
      await store.purge();
      assert.deepEqual(await store.counters(), [{ name: "a", state: 1 }]);
    });

    it("beyond their bound go in the order in which they count for nothing, and none that has no end", async () => {
      await using home = await create();
      const store = await home.open({ bounds: { ...BOUNDS, counters: 32 } });
      const until = (index: number): number => START + ((index * 7) % 40) * HOUR_MS;
      const names = Array.from({ length: 40 }, (_, index) => `${index}`);
      await store.count(() =>
        put(...names.map((each, index) => ({ name: each, state: 1, until: until(index) }))),
      );
      await store.count(() => put({ name: "total", state: 1 }));
      await store.purge();
      const left = (await store.counters()).map((meter) => meter.until ?? Number.POSITIVE_INFINITY);
      assert.ok(left.length >= 29 && left.length <= 33, `${left.length}`);
      assert.ok(Math.min(...left) >= until(0) + (40 - 32) * HOUR_MS);
      assert.ok(left.includes(Number.POSITIVE_INFINITY));
    });
  });
}

/** When the time of a store under test begins. */
const START = 1_800_000_000_000;
/** Milliseconds between two looks at what is too old. */
const HOUR_MS = 60 * 60_000;

async function append(
  store: ConversationStore<string>,
  lane: string,
  ...turns: string[]
): Promise<void> {
  for (const turn of turns) await store.append(lane, [`q${turn}`, `a${turn}`]);
}

async function transcriptOf(store: ConversationStore<string>, lane: string): Promise<string[]> {
  const said: string[] = [];
  for await (const { messages } of store.transcript(lane)) said.push(...messages);
  return said;
}

/** What every store promises of conversations that are cut. */
function conversationContract(name: string, create: CreateUnderTest): void {
  describe(`${name}: a conversation`, () => {
    it("gives its latest whole turns within the bounds, and at least the last one", async () => {
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

    it("is shown from behind its cut, the summary first, and read in full all the same", async () => {
      await using home = await create();
      const store = await home.open();
      await append(store, "a", "1", "2", "3");
      const { turns, summary } = await store.conversation("a");
      assert.equal(summary, undefined);
      assert.deepEqual(
        turns.map(({ messages }) => messages),
        [
          ["q1", "a1"],
          ["q2", "a2"],
          ["q3", "a3"],
        ],
      );
      assert.ok(await store.compact("a", turns[1]?.id ?? 0, "1 and 2 in short"));
      assert.deepEqual(await store.history("a"), ["1 and 2 in short", "q3", "a3"]);
      assert.deepEqual(await store.conversation("a"), {
        summary: "1 and 2 in short",
        turns: [turns[2]],
      });
      assert.deepEqual(await transcriptOf(store, "a"), ["q1", "a1", "q2", "a2", "q3", "a3"]);
      await append(store, "a", "4", "5", "6");
      const shown = ["1 and 2 in short", "q4", "a4", "q5", "a5", "q6", "a6"];
      assert.deepEqual(await store.history("a"), shown);
    });

    it("is not cut at a turn that an earlier cut hides, that it lacks, or that is another's", async () => {
      await using home = await create();
      const store = await home.open();
      await append(store, "a", "1", "2", "3");
      await append(store, "b", "1");
      const [first, second] = (await store.conversation("a")).turns;
      const [other] = (await store.conversation("b")).turns;
      assert.ok(first && second && other);
      assert.ok(await store.compact("a", second.id));
      for (const through of [first.id, second.id, other.id, 999]) {
        assert.equal(await store.compact("a", through, "late"), false);
      }
      assert.equal(await store.compact("nobody", first.id, "late"), false);
      assert.deepEqual(await store.history("a"), ["q3", "a3"]);
    });

    it("that is forgotten shows nothing, not even its summary, until somebody speaks again", async () => {
      await using home = await create();
      const store = await home.open();
      await append(store, "a", "1", "2");
      const [first] = (await store.conversation("a")).turns;
      assert.ok(await store.compact("a", first?.id ?? 0, "summary"));
      await store.append("a", ["/clear", "cleared"], true);
      assert.deepEqual(await store.history("a"), []);
      assert.deepEqual(await store.conversation("a"), { turns: [] });
      await append(store, "a", "3");
      assert.deepEqual(await store.history("a"), ["q3", "a3"]);
      assert.equal((await transcriptOf(store, "a")).length, 8);
    });

    it("begins with what was said elsewhere, once, and never where it was known", async () => {
      await using home = await create();
      const store = await home.open();
      const said = { summary: "before", turns: [{ messages: ["q", "a"], at: 1000 }] };
      assert.equal(await store.importConversation("a", said), true);
      assert.equal(await store.importConversation("a", said), false);
      assert.deepEqual(await store.history("a"), ["before", "q", "a"]);
      const [turn] = (await store.conversation("a")).turns;
      assert.ok(await store.compact("a", turn?.id ?? 0, "all"));
      assert.deepEqual(await store.history("a"), ["all"]);
      assert.deepEqual((await store.conversations())[0]?.firstAt, 1000);
      await append(store, "b", "1");
      assert.equal(await store.importConversation("b", said), false);
      await store.erase("b");
      assert.equal(await store.importConversation("b", said), false);
    });

    it("is listed with its size and its times, the one used last first, until it is deleted", async () => {
      await using home = await create();
      const store = await home.open();
      await append(store, "a", "1");
      home.pass(5);
      await append(store, "b", "1", "é");
      home.pass(5);
      await append(store, "a", "2");
      const [a, b, ...more] = await store.conversations();
      assert.deepEqual(more, []);
      assert.ok(a && b);
      assert.deepEqual([a.name, a.turns, a.messages, a.bytes], ["a", 2, 4, 22]);
      assert.deepEqual([a.lastAt - a.firstAt, b.firstAt - a.firstAt, a.summarized], [10, 5, false]);
      assert.deepEqual([b.name, b.turns, b.bytes], ["b", 2, 24]);
      const [first] = (await store.conversation("b")).turns;
      assert.ok(await store.compact("b", first?.id ?? 0, "é"));
      assert.equal((await store.conversations())[1]?.summarized, true);
      assert.equal(await store.erase("b"), 2);
      assert.equal(await store.erase("b"), 0);
      assert.equal(await store.compact("b", 999, "late"), false);
      assert.deepEqual(await store.history("b"), []);
      assert.deepEqual(await transcriptOf(store, "b"), []);
      assert.deepEqual(
        (await store.conversations()).map(({ name: each }) => each),
        ["a"],
      );
    });

    it("is empty when it is deleted while a turn is added to it", async () => {
      await using home = await create();
      const store = await home.open();
      await append(store, "a", "1");
      const added = append(store, "a", "2");
      assert.equal(await store.erase("a"), 2);
      await added;
      assert.deepEqual(await store.size("a"), { messages: 0, bytes: 0 });
    });

    it("has the size of its summary and of what is shown, without what is hidden", async () => {
      await using home = await create();
      const store = await home.open();
      const sizeOf = async (of: string): Promise<unknown> => {
        const { summary, turns } = await store.conversation(of);
        const stored = [...turns.map(({ messages }) => messages), ...(summary ? [summary] : [])];
        return {
          messages: turns.reduce((total, { messages }) => total + messages.length, 0),
          bytes: stored.reduce((total, each) => total + Buffer.byteLength(JSON.stringify(each)), 0),
        };
      };
      assert.deepEqual(await store.size("a"), { messages: 0, bytes: 0 });
      await append(store, "a", "1", "é", "3");
      await append(store, "b", "another");
      assert.deepEqual(await store.size("a"), await sizeOf("a"));
      const { turns } = await store.conversation("a");
      assert.ok(await store.compact("a", turns[1]?.id ?? 0, "ü"));
      assert.deepEqual(await store.size("a"), await sizeOf("a"));
      assert.equal((await store.size("a")).messages, 2);
      await store.append("a", [], true);
      assert.deepEqual(await store.size("a"), { messages: 0, bytes: 0 });
    });

    it("loses what is hidden and too old, too much for it or for all, and nothing that is shown", async () => {
      await using home = await create();
      const store = await home.open();
      const turns = Array.from({ length: 30 }, (_, index) => `${index}`);
      await append(store, "a", ...turns);
      await append(store, "b", "1", "2");
      await store.purge();
      assert.equal((await transcriptOf(store, "a")).length, 60);
      const shown = (await store.conversation("a")).turns;
      assert.ok(await store.compact("a", shown[24]?.id ?? 0));
      home.pass(HOUR_MS);
      await store.purge();
      assert.deepEqual((await transcriptOf(store, "a"))[0], "q10");
      assert.equal((await transcriptOf(store, "b")).length, 4);
      home.pass(BOUNDS.hiddenMs - HOUR_MS);
      await store.purge();
      assert.deepEqual((await transcriptOf(store, "a"))[0], "q25");
      assert.equal((await transcriptOf(store, "b")).length, 4);

      const tight = await home.open({ bounds: { ...BOUNDS, hiddenBytes: 50 } });
      await append(tight, "c", "1", "2", "3", "4", "5", "6", "7", "8", "9");
      const [, , , , fifth, sixth] = (await tight.conversation("c")).turns;
      assert.ok(fifth && sixth && (await tight.compact("c", fifth.id)));
      await append(tight, "d", "1");
      await tight.purge();
      assert.deepEqual((await transcriptOf(tight, "c"))[0], "q6");
      assert.equal((await tight.history("c")).length, BOUNDS.messages);
      assert.equal((await transcriptOf(tight, "d")).length, 2);
    });
  });
}

/** What a store promises to the process after the one that died. */
export function restartContract(name: string, create: () => Promise<StoreUnderTest>): void {
  describe(`${name}: after a restart`, () => {
    it("has the answers of ready requests that were not delivered", async () => {
      await using home = await create();
      const first = await home.open();
      await first.accept(newRequest("!"), { admit: () => ({ ready: READY }) });
      home.pass(LEASE_MS);
      const second = await home.open();
      const held = await claimedAbandoned(second);
      assert.deepEqual(
        held.map(({ answer }) => answer),
        [READY],
      );
      assert.ok(held[0] && (await second.delivered(held[0].claim)));
    });

    it("what is left is taken over once, in order, with what was done so far", async () => {
      await using home = await create();
      const first = await home.open();
      const waiting = await accepted(first, newRequest("waiting"));
      const running = await first.begin(await accepted(first, newRequest("running")));
      const answered = await first.begin(await accepted(first, newRequest("answered")));
      await done(first, newRequest("done"));
      assert.ok(running && answered);
      await first.record(running, "step 1");
      await first.record(running, "step 2");
      await first.answered(answered, { parts: ["42"] }, ["q", "42"]);

      const second = await home.open({ sole: true });
      const left = await claimedAbandoned(second);
      assert.deepEqual(
        left.map(({ request: { text }, claim, progress, answer }) => [
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
      assert.deepEqual(await second.claimAbandoned(), []);
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
      await accepted(first, newRequest("?"));
      const second = await home.open();
      assert.deepEqual(await second.claimAbandoned(), []);
      home.pass(LEASE_MS - 1);
      await first.renew();
      home.pass(LEASE_MS - 1);
      assert.deepEqual(await second.claimAbandoned(), []);
      home.pass(1);
      assert.equal((await second.claimAbandoned()).length, 1);
    });

    it("an attempt that was released is not counted, and anyone may take it", async () => {
      await using home = await create();
      const first = await home.open();
      const claim = await first.begin(await accepted(first, newRequest("?")));
      assert.ok(claim && (await first.release(claim)));
      assert.equal(await first.begin(claim), undefined);
      const [left] = await (await home.open()).claimAbandoned();
      assert.equal(left?.claim.attempt, 0);
    });

    it("answers and conversations are there together", async () => {
      await using home = await create();
      await done(await home.open(), newRequest("hi"), ["Hello"]);
      const second = await home.open();
      assert.deepEqual(await second.history("lane"), ["hi", "Hello"]);
      assert.deepEqual((await remembered(second, "hi"))?.answer?.parts, ["Hello"]);
    });

    it("cuts are there, and what was deleted is not", async () => {
      await using home = await create();
      const first = await home.open();
      await append(first, "a", "1", "2");
      await append(first, "b", "1");
      const [turn] = (await first.conversation("a")).turns;
      assert.ok(turn && (await first.compact("a", turn.id, "in short")));
      await first.erase("b");
      const second = await home.open();
      assert.deepEqual(await second.history("a"), ["in short", "q2", "a2"]);
      assert.deepEqual(await second.history("b"), []);
      assert.equal(await second.importConversation("b", { turns: [{ messages: ["old"] }] }), false);
    });
  });
}
