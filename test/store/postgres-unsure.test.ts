import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Claim, Store } from "../../src/store/contract/store.ts";
import type { PostgresStore } from "../../src/store/postgres/store.ts";
import { startPostgresProxy } from "../support/postgres-proxy.ts";
import { needsPostgres, sharedPostgres, startPostgres } from "../support/postgres.ts";
import { until } from "../support/until.ts";
import { accepted, newRequest } from "./contract.ts";
import { addressOf, postgresHome } from "./postgres-home.ts";

type Shared = PostgresStore<string>;

/** A store whose way to its database is cut at commits, and another one that is not disturbed. */
async function openBehindProxy() {
  const server = await sharedPostgres();
  const proxy = await startPostgresProxy(server.port);
  const database = await server.createDatabase();
  const near = await postgresHome({}, addressOf(server, database));
  const far = await postgresHome({ seekMs: 1 }, addressOf(proxy, database));
  const store = await far.open({ owner: "cut" });
  const other = await near.open({ owner: "other" });
  return {
    store,
    other,
    /** Makes a call whose commit has an unknown outcome, and makes it again until it is known. */
    unsure: async <T>(call: () => Promise<T>, when: "before" | "after"): Promise<T> => {
      const cut = proxy.cutAtCommit(when).then(() => proxy.refuse(true));
      await assert.rejects(call(), { code: "unsure" });
      await cut;
      proxy.refuse(false);
      let result: { readonly value: T } | undefined;
      await until("the database is reached", async () => {
        result = await call().then(
          (value) => ({ value }),
          (error: { readonly code?: string }) => {
            assert.ok(error.code === "busy" || error.code === "unsure");
            return undefined;
          },
        );
        return result !== undefined;
      });
      assert.ok(result !== undefined);
      return result.value;
    },
    async [Symbol.asyncDispose]() {
      await far[Symbol.asyncDispose]();
      await near[Symbol.asyncDispose]();
      await proxy[Symbol.asyncDispose]();
      await server.clearDatabase(database);
    },
  };
}

async function begun(store: Store<string>, text: string): Promise<Claim> {
  const claim = await store.begin(await accepted(store, newRequest(text)));
  assert.ok(claim);
  return claim;
}

async function leftAt(store: Shared, text: string): Promise<void> {
  await store.accept(newRequest(text), { admit: () => "leave", repeat: () => undefined });
}

for (const when of ["before", "after"] as const) {
  describe(`a commit of unknown outcome in PostgreSQL, cut ${when} it`, needsPostgres, () => {
    it("of an acceptance is one request", async () => {
      await using setup = await openBehindProxy();
      const { store, other, unsure } = setup;
      const nameless = newRequest("?", { mayRepeat: false });
      const taken = await unsure(() => store.accept(nameless), when);
      assert.ok(taken.is === "new");
      const next = await accepted(store, nameless);
      assert.notEqual(next.seq, taken.claim.seq);
      assert.equal((await store.load(taken.claim))?.request.text, "?");
      await store.close();
      assert.equal((await other.cluster.poll(9)).claimed.length, 2);
    });

    it("of a beginning is one attempt", async () => {
      await using setup = await openBehindProxy();
      const { store, unsure } = setup;
      const claim = await accepted(store, newRequest("?"));
      const first = await unsure(() => store.begin(claim), when);
      assert.deepEqual(first, { ...claim, attempt: 1 });
      assert.equal(await store.begin(claim), undefined);
    });

    it("of a step is one step", async () => {
      await using setup = await openBehindProxy();
      const { store, unsure } = setup;
      const claim = await begun(store, "?");
      assert.ok(await unsure(() => store.record(claim, "step"), when));
      assert.ok(await store.record(claim, "step"));
      assert.deepEqual((await store.load(claim))?.progress, ["step", "step"]);
    });

    it("of an answer is one answer and one turn, and of its delivery one delivery", async () => {
      await using setup = await openBehindProxy();
      const { store, unsure } = setup;
      const claim = await begun(store, "?");
      const [answer, messages] = [{ parts: ["!"] }, ["?", "!"]];
      assert.equal(await unsure(() => store.answered(claim, answer, messages), when), true);
      assert.equal(await store.answered(claim, answer, messages), false);
      assert.deepEqual(await store.history("lane"), messages);
      assert.equal(await unsure(() => store.delivered(claim), when), true);
      assert.equal(await store.delivered(claim), false);
    });

    it("of a release counts no attempt, and the next owner may claim the request", async () => {
      await using setup = await openBehindProxy();
      const { store, other, unsure } = setup;
      const claim = await begun(store, "?");
      assert.equal(await unsure(() => store.release(claim), when), true);
      const [left] = (await other.cluster.poll(1)).claimed;
      assert.equal(left?.claim.attempt, 0);
    });

    it("of a turn is one turn", async () => {
      await using setup = await openBehindProxy();
      const { store, unsure } = setup;
      const messages = ["q", "a"];
      await unsure(() => store.append("lane", messages), when);
      await store.append("lane", messages);
      assert.deepEqual(await store.history("lane"), [...messages, ...messages]);
    });

    it("of a poll is known by the next one, and until then the lane is not this owner's", async () => {
      await using setup = await openBehindProxy();
      const { store, other, unsure } = setup;
      await leftAt(other, "1");
      const { claimed } = await unsure(() => store.cluster.poll(1), when);
      assert.deepEqual(
        claimed.map(({ request }) => request.name),
        ["name of 1"],
      );
      assert.deepEqual((await store.cluster.poll(9)).claimed, []);
      const [first] = claimed;
      assert.ok(first !== undefined && (await store.begin(first.claim)));
    });

    it("of a further address is one address", async () => {
      await using setup = await openBehindProxy();
      const { store, other, unsure } = setup;
      const claim = await accepted(other, newRequest("?"));
      const to = { address: "elsewhere", stream: false };
      assert.equal(await unsure(() => store.join(claim, to), when), true);
      assert.equal((await other.cluster.poll(0)).joined.length, 1);
    });
  });
}

describe("PostgreSQL that is killed in a flood of acceptances", needsPostgres, () => {
  it("has each request that was acknowledged, and each once", async () => {
    await using server = await startPostgres();
    const home = await postgresHome({}, addressOf(server, "postgres"));
    const store = await home.open();
    const total = 6000;
    let acknowledged = 0;
    const accept = async (index: number): Promise<void> => {
      const wanted = newRequest(`${index}`, { lane: `lane ${index % 50}`, mayRepeat: false });
      for (;;) {
        try {
          assert.equal((await store.accept(wanted)).is, "new");
          acknowledged += 1;
          return;
        } catch (error) {
          assert.ok(error instanceof Error && "code" in error);
          assert.ok(error.code === "busy" || error.code === "unsure", String(error));
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
      }
    };
    const all = Array.from({ length: total }, (_, index) => accept(index));
    for (const share of [0.1, 0.4, 0.7]) {
      await until("some are acknowledged", () => acknowledged >= total * share, 60_000);
      await server.crash();
      await server.start();
    }
    await Promise.all(all);
    const [rows, names] = (
      await server.sql("SELECT count(*), count(DISTINCT name) FROM picoclaw.requests")
    ).split("|");
    assert.deepEqual([rows, names], [`${total}`, `${total}`]);
    await home[Symbol.asyncDispose]();
  });
});
