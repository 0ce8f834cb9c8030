import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Cluster } from "../../src/store/contract/cluster.ts";
import type { Admission, LaneElsewhere, Store } from "../../src/store/contract/store.ts";
import { needsPostgres } from "../support/postgres.ts";
import { until } from "../support/until.ts";
import { accepted, BOUNDS, LEASE_MS, newRequest } from "./contract.ts";
import { postgresHome } from "./postgres-home.ts";

type Shared = Store<string> & { readonly cluster: Cluster };

function deciding(decision: ReturnType<Admission["admit"]>, seen: unknown[] = []): Admission {
  return {
    admit(_hasRoom, elsewhere?: LaneElsewhere) {
      seen.push(elsewhere);
      return decision;
    },
    repeat: () => undefined,
  };
}

async function left(store: Shared, text: string, lane = "lane"): Promise<void> {
  const taken = await store.accept(newRequest(text, { lane }), deciding("leave"));
  assert.deepEqual(taken, { is: "left" });
}

/** The names of what a poll claims. */
async function polled(store: Shared, lanes: number): Promise<readonly string[]> {
  const { claimed } = await store.cluster.poll(lanes);
  return claimed.map(({ request }) => request.name.replace("name of ", ""));
}

describe("lanes in PostgreSQL", needsPostgres, () => {
  it("are claimed by one owner each, the one that waited longest first, with their requests in order", async () => {
    await using home = await postgresHome();
    const [intake, a, b] = [await home.open(), await home.open(), await home.open()];
    for (const text of ["x1", "y1", "x2", "z1", "x3"]) await left(intake, text, text[0]);
    assert.deepEqual(await polled(a, 0), []);
    assert.deepEqual(await polled(a, 1), ["x1", "x2", "x3"]);
    const rest = (await Promise.all([polled(a, 1), polled(b, 1)])).flat();
    assert.deepEqual(rest.toSorted(), ["y1", "z1"]);
    await left(intake, "x4", "x");
    assert.deepEqual(await polled(b, 5), []);
    assert.deepEqual(await polled(a, 0), ["x4"]);
  });

  it("many at once are claimed by several owners without a request twice", async () => {
    await using home = await postgresHome();
    const owners = [await home.open(), await home.open(), await home.open()];
    const names = Array.from({ length: 120 }, (_, index) => `${index}`);
    const [first] = owners;
    assert.ok(first !== undefined);
    await Promise.all(names.map((name) => left(first, name, `lane ${Number(name) % 40}`)));
    const claimed: string[] = [];
    while (claimed.length < names.length) {
      const found = await Promise.all(owners.map((owner) => polled(owner, 3)));
      for (const each of found) {
        claimed.push(...each);
        assert.deepEqual(
          each.map(Number),
          each.map(Number).toSorted((x, y) => x - y),
        );
      }
    }
    assert.deepEqual(new Set(claimed), new Set(names));
    assert.equal(claimed.length, names.length);
  });

  it("among thousands that wait are claimed without a look at all of them", async () => {
    await using home = await postgresHome();
    const sql = (text: string): Promise<string> => home.server.sql(text, home.address.database);
    // A process of the server has reported all that it did when it ended.
    const readEntries = async (store: Shared): Promise<number> => {
      await store.close();
      await until("its connections ended", async () => {
        const connected =
          "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
        return (await sql(connected)).trim() === "1";
      });
      return Number(await sql("SELECT sum(idx_tup_read) FROM pg_stat_user_indexes"));
    };
    const intake = await home.open();
    const names = Array.from({ length: 3000 }, (_, index) => `${index}`);
    await Promise.all(names.map((name) => left(intake, name, `lane ${Number(name) % 1000}`)));
    const before = await readEntries(intake);
    const owner = await home.open();
    assert.deepEqual(await polled(owner, 2), ["0", "1", "1000", "1001", "2000", "2001"]);
    const read = (await readEntries(owner)) - before;
    assert.ok(read < 1000, `${read} entries of indexes were read`);
  });

  it("tell admission where they are, and whether all of their requests are known", async () => {
    await using home = await postgresHome();
    const [a, b] = [await home.open(), await home.open()];
    const seen: unknown[] = [];
    const ask = (store: Shared, text: string, decision: "wait" | "begin" | "leave") =>
      store.accept(newRequest(text), deciding(decision, seen));
    assert.equal((await ask(a, "1", "begin")).is, "new");
    assert.equal((await ask(a, "2", "wait")).is, "new");
    await ask(b, "3", "leave");
    await ask(a, "4", "leave");
    assert.deepEqual(await polled(a, 0), ["3", "4"]);
    await ask(a, "5", "wait");
    assert.deepEqual(seen, [
      { isFree: true, open: 0 },
      undefined,
      { isFree: false, open: 2 },
      { isFree: false, open: 3 },
      undefined,
    ]);
  });

  it("in one transaction know what the calls before decided", async () => {
    await using home = await postgresHome();
    const store = await home.open();
    const seen: unknown[] = [];
    const taken = await Promise.all(
      ["1", "2", "1"].map((text) => store.accept(newRequest(text), deciding("wait", seen))),
    );
    assert.deepEqual(
      taken.map(({ is }) => is),
      ["new", "new", "known"],
    );
    assert.deepEqual(seen, [{ isFree: true, open: 0 }, undefined]);
  });

  it("of a dead owner are claimed with their requests, and it writes nothing any more", async () => {
    await using home = await postgresHome();
    const [dead, heir] = [await home.open(), await home.open()];
    const running = await dead.accept(newRequest("1"), deciding("begin"));
    const waiting = await dead.accept(newRequest("2"), deciding("wait"));
    const answered = await dead.accept(newRequest("3", { lane: "other" }), deciding("begin"));
    assert.ok(running.is === "new" && waiting.is === "new" && answered.is === "new");
    assert.ok(await dead.record(running.claim, "step"));
    assert.ok(await dead.answered(answered.claim, { parts: ["!"] }, ["3", "!"]));
    home.pass(LEASE_MS - 1);
    assert.ok(await heir.renew());
    assert.deepEqual(await polled(heir, 9), []);
    home.pass(1);
    const { claimed } = await heir.cluster.poll(9);
    assert.deepEqual(
      claimed.map(({ request, claim, isAnswered }) => [request.name, claim.attempt, isAnswered]),
      [
        ["name of 1", 1, false],
        ["name of 2", 0, false],
        ["name of 3", 1, true],
      ],
    );
    assert.equal(await dead.renew(), false);
    assert.equal(await dead.begin(waiting.claim), undefined);
    assert.equal(await dead.record(running.claim, "late"), false);
    assert.equal(await dead.answered(running.claim, { parts: ["late"] }, ["late"]), false);
    assert.equal(await dead.delivered(answered.claim), false);
    assert.equal(await dead.release(running.claim), false);
    await assert.rejects(dead.accept(newRequest("4")), { code: "fenced" });
    await assert.rejects(
      dead.cluster.poll(9).then(() => dead.claimAbandoned()),
      { code: "fenced" },
    );
    const [first] = claimed;
    assert.ok(first !== undefined);
    assert.deepEqual((await heir.load(first.claim))?.progress, ["step"]);
    assert.equal((await heir.begin(first.claim))?.attempt, 2);
  });

  it("stay with an owner whose lease is over as long as nobody claimed them", async () => {
    await using home = await postgresHome();
    const owner = await home.open();
    const claim = await accepted(owner, newRequest("?"));
    home.pass(LEASE_MS * 2);
    assert.ok(await owner.renew());
    assert.ok(await owner.begin(claim));
  });

  it("are given up when nothing of them was open for long, and at once where that is asked for", async () => {
    await using home = await postgresHome();
    let elapsed = 0;
    const [a, b] = [await home.open({ elapsed: () => elapsed }), await home.open()];
    const claim = await accepted(a, newRequest("1"));
    const pollLater = async (ms: number, lanes: number): Promise<void> => {
      elapsed += ms;
      assert.deepEqual((await a.cluster.poll(lanes)).claimed, []);
    };
    const seen: unknown[] = [];
    const where = () =>
      b.accept(newRequest("?", { mayRepeat: false }), deciding({ parts: [] }, seen));
    await pollLater(30_000, 1);
    await where();
    const begun = await a.begin(claim);
    assert.ok(begun && (await a.answered(begun, { parts: [] }, [])));
    await pollLater(30_000, 1);
    await where();
    assert.ok(await a.delivered(begun));
    await pollLater(29_999, 1);
    await where();
    await pollLater(1, 1);
    await where();
    const next = await accepted(a, newRequest("next"));
    assert.ok(await a.expire(next, { parts: [] }));
    assert.ok(await a.delivered(next));
    await pollLater(999, 0);
    await where();
    await pollLater(1, 0);
    await where();
    await accepted(a, newRequest("2"));
    await accepted(a, newRequest("3", { lane: "kept" }));
    await a.cluster.leave(["kept"]);
    assert.deepEqual(await polled(b, 9), ["2"]);
    await a.cluster.leave([]);
    assert.deepEqual(await polled(b, 9), ["3"]);
    assert.deepEqual(seen, [
      { isFree: false, open: 1 },
      { isFree: false, open: 0 },
      { isFree: false, open: 0 },
      { isFree: true, open: 0 },
      { isFree: false, open: 0 },
      { isFree: true, open: 0 },
    ]);
  });

  it("tell their owner of a stop that was accepted elsewhere, once", async () => {
    await using home = await postgresHome();
    const [intake, owner] = [await home.open(), await home.open()];
    await left(intake, "1");
    assert.deepEqual(await polled(owner, 1), ["1"]);
    await left(intake, "2");
    await intake.accept(newRequest("/stop"), deciding({ stop: { parts: ["Stopped."] } }));
    await left(intake, "3");
    const { claimed, stopped } = await owner.cluster.poll(0);
    assert.deepEqual(stopped, ["lane"]);
    assert.deepEqual(
      claimed.map(({ isCancelled }) => isCancelled),
      [true, false],
    );
    assert.deepEqual(await owner.cluster.poll(0), { claimed: [], stopped: [], joined: [] });
  });

  it("bring further addresses to whoever holds the request, once, also after it was delivered", async () => {
    await using home = await postgresHome();
    const [intake, owner, heir] = [await home.open(), await home.open(), await home.open()];
    await left(intake, "1");
    const [first] = (await owner.cluster.poll(1)).claimed;
    assert.ok(first !== undefined);
    const to = { address: "else\0where", stream: false, id: "\ud83d" };
    assert.equal(await intake.join({ seq: 99 }, to), false);
    assert.equal(await intake.join(first.claim, to), true);
    const { joined } = await owner.cluster.poll(0);
    assert.deepEqual(joined, [{ claim: first.claim, request: first.request, to }]);
    assert.deepEqual((await owner.cluster.poll(0)).joined, []);
    home.pass(LEASE_MS);
    await heir.renew();
    const again = await heir.cluster.poll(1);
    assert.deepEqual(
      again.joined.map((each) => [each.claim, each.to]),
      [[again.claimed[0]?.claim, to]],
    );
    const claim = await heir.begin({ ...first.claim, owner: "owner 2" });
    assert.ok(claim && (await heir.answered(claim, { parts: ["!"] }, [])));
    assert.equal(await intake.join(first.claim, { ...to, address: "late" }), true);
    assert.ok(await heir.delivered(claim));
    assert.equal(await intake.join(first.claim, to), false);
    const [late] = (await heir.cluster.poll(0)).joined;
    assert.equal(late?.to.address, "late");
    assert.deepEqual((await heir.load(claim))?.answer?.parts, ["!"]);
  });

  it("keep the latest eight addresses of a request for the next owner", async () => {
    await using home = await postgresHome();
    const [intake, owner, heir] = [await home.open(), await home.open(), await home.open()];
    await left(intake, "1");
    const [first] = (await owner.cluster.poll(1)).claimed;
    assert.ok(first !== undefined);
    const addresses = Array.from({ length: 12 }, (_, index) => `address ${index}`);
    const joining = async (some: readonly string[]): Promise<void> => {
      for (const address of some)
        assert.ok(await intake.join(first.claim, { address, stream: false }));
    };
    const heardBy = async ({ cluster }: typeof owner): Promise<readonly string[]> =>
      (await cluster.poll(1)).joined.map(({ to }) => to.address);
    await joining(addresses);
    assert.deepEqual(await heardBy(owner), addresses);
    await joining(["last"]);
    assert.deepEqual(await heardBy(owner), ["last"]);
    home.pass(LEASE_MS);
    await heir.renew();
    assert.deepEqual(await heardBy(heir), [...addresses, "last"].slice(-8));
  });

  it("and requests may have any name, also in what a list or a key of the database would read otherwise", async () => {
    await using home = await postgresHome();
    const [intake, owner] = [await home.open(), await home.open({ owner: "o\0\ud83d" })];
    const odd = ["NULL", "", '"', '"a"', "a\0b", "\ud83d", "\\", '{"a",b}', "a'b;--", "\u2028ü😀"];
    const wanted = odd.map((text) =>
      newRequest(text, {
        name: text,
        lane: text,
        conversation: `of ${text}`,
        client: text,
        channel: text,
        address: text,
        id: text,
      }),
    );
    const leave = deciding("leave");
    for (const each of wanted) assert.equal((await intake.accept(each, leave)).is, "left");
    for (const each of wanted) assert.equal((await intake.accept(each, leave)).is, "known");
    const { claimed } = await owner.cluster.poll(99);
    const answers = claimed.map(async ({ claim }, index): Promise<void> => {
      const begun = await owner.begin(claim);
      assert.ok(begun);
      const { mayRepeat: _repeat, retriesFailed: _retry, ...request } = wanted[index] ?? {};
      assert.deepEqual((await owner.load(begun))?.request, request);
      assert.ok(await owner.record(begun, odd[index] ?? ""));
      assert.deepEqual((await owner.load(begun))?.progress, [odd[index]]);
      assert.ok(await owner.answered(begun, { parts: odd }, [odd[index] ?? ""]));
      assert.deepEqual(await owner.history(`of ${odd[index]}`), [odd[index]]);
    });
    await Promise.all(answers);
    assert.equal(answers.length, odd.length);
  });

  it("come with a hint to whoever may claim them", async () => {
    await using home = await postgresHome();
    const [intake, owner] = [await home.open(), await home.open()];
    let hints = 0;
    const stop = owner.cluster.onHint(() => {
      hints += 1;
    });
    let index = 0;
    await until("a hint comes", async () => {
      await left(intake, `${(index += 1)}`);
      return hints > 0;
    });
    stop();
  });
});

function heard(store: Shared, text: string, channel = "mqtt") {
  return store.accept(newRequest(text, { channel, lane: text }));
}

describe("an intake in PostgreSQL", needsPostgres, () => {
  it("is held by one owner until its lease is over or given back, and fences the others", async () => {
    await using home = await postgresHome();
    const [a, b] = [await home.open(), await home.open()];
    const [ofA, ofB] = [a.cluster.intake("mqtt agent"), b.cluster.intake("mqtt agent")];
    assert.equal((await heard(b, "0")).is, "new");
    assert.ok(((await ofA.take()) ?? 0) > 1000);
    assert.equal(await ofB.take(), undefined);
    assert.equal((await heard(a, "1")).is, "new");
    const [inOther, fenced] = await Promise.allSettled([heard(b, "2", "other"), heard(b, "3")]);
    assert.equal(inOther.status, "fulfilled");
    assert.ok(fenced.status === "rejected" && fenced.reason.code === "fenced");
    home.pass(3999);
    assert.equal(await ofB.take(), undefined);
    home.pass(1);
    assert.equal((await heard(a, "4")).is, "new");
    assert.ok(await ofB.take());
    await assert.rejects(heard(a, "5"), { code: "fenced" });
    assert.equal(await ofA.take(), undefined);
    await ofB.release();
    await assert.rejects(heard(b, "6"), { code: "fenced" });
    assert.ok(await ofA.take());
    assert.equal((await heard(a, "7")).is, "new");
  });
});

describe("gateways in PostgreSQL", needsPostgres, () => {
  it("know each other as long as they live, and the name of their store", async () => {
    await using home = await postgresHome();
    const [a, b] = [await home.open(), await home.open()];
    await a.cluster.announce({ version: "1.0.0", text: "\0\ud83d" });
    await a.cluster.intake("mqtt").take();
    await accepted(a, newRequest("?"));
    const all = async () =>
      (await b.cluster.gateways()).toSorted((x, y) => (x.owner < y.owner ? -1 : 1));
    const about = { version: "1.0.0", text: "\0\ud83d" };
    const other = { owner: "owner 1", about: undefined, intakes: [], lanes: 0 };
    assert.deepEqual(await all(), [
      { owner: "owner 0", about, intakes: ["mqtt"], lanes: 1 },
      other,
    ]);
    home.pass(LEASE_MS);
    await b.renew();
    assert.deepEqual(await all(), [other]);
    const identity = await a.cluster.identity();
    assert.match(identity, /^[0-9a-f]{8}$/);
    assert.equal(await b.cluster.identity(), identity);
  });

  it("leave nothing of themselves a day after they died", async () => {
    await using home = await postgresHome();
    const { server, address } = home;
    const [a, b] = [await home.open(), await home.open()];
    await accepted(a, newRequest("?"));
    await b.accept(newRequest("/stop"), deciding({ stop: { parts: [] } }));
    await a.close();
    home.pass(25 * 60 * 60_000);
    await b.renew();
    await b.purge();
    const owners = await server.sql(
      `SELECT owner FROM picoclaw.owners UNION ALL SELECT owner FROM picoclaw.stops
       UNION ALL SELECT owner FROM picoclaw.lanes`,
      address.database,
    );
    assert.equal(owners, "owner 1");
  });

  it("of clocks that differ by hours judge leases and windows alike", async () => {
    await using home = await postgresHome();
    const early = await home.open({ now: () => 1_800_000_000_000 - 3_600_000 });
    const late = await home.open({ now: () => 1_800_000_000_000 + 3_600_000 });
    const claim = await accepted(early, newRequest("?"));
    assert.deepEqual(await polled(late, 9), []);
    const begun = await early.begin(claim);
    assert.ok(begun && (await early.answered(begun, { parts: [] }, [])));
    assert.ok(await early.delivered(begun));
    await late.purge();
    assert.equal((await late.accept(newRequest("?"))).is, "known");
    home.pass(BOUNDS.windowMs);
    await late.renew();
    assert.equal((await late.accept(newRequest("?"), deciding("leave"))).is, "left");
  });
});
