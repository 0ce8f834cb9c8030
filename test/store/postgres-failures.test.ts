import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Secret } from "../../src/base/secret.ts";
import { openPostgres } from "../../src/store/postgres/database.ts";
import type { PostgresStore } from "../../src/store/postgres/store.ts";
import { needsPgbouncer, startPgbouncer } from "../support/pgbouncer.ts";
import { startPostgresProxy } from "../support/postgres-proxy.ts";
import { needsPostgres, sharedPostgres, startPostgres } from "../support/postgres.ts";
import { until } from "../support/until.ts";
import { accepted, BOUNDS, newRequest } from "./contract.ts";
import { addressOf, postgresHome } from "./postgres-home.ts";

/** A store that reaches its database through a proxy. */
async function behindProxy(facts: Parameters<typeof postgresHome>[0] = {}) {
  const server = await sharedPostgres();
  const proxy = await startPostgresProxy(server.port);
  const database = await server.createDatabase();
  const home = await postgresHome(facts, addressOf(proxy, database));
  const store = await home.open();
  return {
    proxy,
    store,
    async [Symbol.asyncDispose]() {
      await home[Symbol.asyncDispose]();
      await proxy[Symbol.asyncDispose]();
      await server.clearDatabase(database);
    },
  };
}

const BUSY = { code: "busy", retryAfter: 30 };

describe("a transaction in PostgreSQL", needsPostgres, () => {
  for (const when of ["before", "after"] as const) {
    it(`whose connection is cut ${when} the server commits is written if it was committed`, async () => {
      await using setup = await behindProxy();
      const { proxy, store } = setup;
      const cut = proxy.cutAtCommit(when);
      const appended = store.append("a", ["q", "a"]);
      await cut;
      if (when === "before") await assert.rejects(appended, BUSY);
      else await appended;
      assert.deepEqual(await store.history("a"), when === "before" ? [] : ["q", "a"]);
    });

    it(`of unknown outcome, cut ${when} the commit, is written once when it is asked for again`, async () => {
      await using setup = await behindProxy({ seekMs: 50 });
      const { proxy, store } = setup;
      const [messages, count] = [["q", "a"], () => ({ put: [{ name: "n", state: 1 }], drop: [] })];
      const cut = proxy.cutAtCommit(when).then(() => proxy.refuse(true));
      const both = () => [store.append("a", messages), store.count(count)] as const;
      const first = await Promise.allSettled(both());
      await cut;
      const codes = first.map((each) => (each.status === "rejected" ? each.reason.code : ""));
      assert.deepEqual(codes, ["unsure", "unsure"]);
      await assert.rejects(store.append("a", ["later"]), BUSY);
      proxy.refuse(false);
      await until("the database is reached", () =>
        store.append("b", ["1"]).then(
          () => true,
          () => false,
        ),
      );
      const [, counters] = await Promise.all(both());
      assert.deepEqual(counters, [{ name: "n", state: 1 }]);
      assert.deepEqual(await store.history("a"), ["q", "a"]);
      // Another turn of the same words is another turn.
      await store.append("a", [...messages]);
      assert.equal((await store.history("a")).length, 4);
    });
  }

  it("that is refused for one value is refused for that call alone", async () => {
    await using home = await postgresHome();
    const store = await home.open();
    const refused = store.database.commits.run((tx) => tx.query("SELECT $1::text", ["a\0b"]), {
      args: [],
    });
    const others = [store.append("a", ["1"]), store.append("a", ["2"])];
    await assert.rejects(refused, { code: "internal", why: /127\.0\.0\.1.*22021/ });
    await Promise.all(others);
    assert.deepEqual(await store.history("a"), ["1", "2"]);
  });

  it("of calls in one go is one transaction, in the order of the calls", async () => {
    const sizes: number[] = [];
    await using home = await postgresHome({ onCommit: (calls) => void sizes.push(calls) });
    const store = await home.open();
    const turns = Array.from({ length: 20 }, (_, index) => `${index}`);
    await Promise.all(turns.map((turn) => store.append("a", [turn])));
    assert.deepEqual(sizes, [20]);
    assert.deepEqual(await store.history("a"), turns.slice(-BOUNDS.messages));
  });

  it("that gets no answer ends at its deadline, and the next one uses another connection", async () => {
    await using setup = await behindProxy({ deadlineMs: 300, seekMs: 50 });
    const { proxy, store } = setup;
    proxy.blackhole(true);
    await assert.rejects(store.append("a", ["1"]), {
      ...BUSY,
      why: /no answer came within 0\.3 s/,
    });
    await assert.rejects(store.history("a"), BUSY);
    proxy.blackhole(false);
    await until("the database is reached", () =>
      store.append("a", ["2"]).then(
        () => true,
        () => false,
      ),
    );
    assert.deepEqual(await store.history("a"), ["2"]);
  });

  it("has two connections beside it for all that read at once", async () => {
    await using home = await postgresHome();
    const store = await home.open();
    await store.append("a", ["1"]);
    const names = Array.from({ length: 20 }, (_, index) => `${index}`);
    await Promise.all(names.map((name) => store.history(name)));
    const count = `SELECT count(*) FROM pg_stat_activity WHERE datname = '${home.address.database}'`;
    assert.equal(await home.server.sql(count), "3");
  });

  it("survives that its connections are ended while nothing runs", async () => {
    await using home = await postgresHome();
    const store = await home.open();
    await store.append("a", ["1"]);
    assert.deepEqual(await store.history("a"), ["1"]);
    await home.server.sql(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${home.address.database}'`,
    );
    await until("the connections are gone", async () => {
      const count = `SELECT count(*) FROM pg_stat_activity WHERE datname = '${home.address.database}'`;
      return (await home.server.sql(count)) === "0";
    });
    await store.append("a", ["2"]);
    assert.deepEqual(await store.history("a"), ["1", "2"]);
  });
});

describe("a database in PostgreSQL", needsPostgres, () => {
  it("leaves no connection behind, although many read at once when all were lost", async () => {
    const server = await sharedPostgres();
    const database = await server.createDatabase();
    await using proxy = await startPostgresProxy(server.port);
    const address = addressOf(proxy, database);
    const options = { owner: "o", now: () => Date.now(), bounds: BOUNDS };
    const { commits, conversations } = await openPostgres<string>(address, options);
    const read = () => Promise.all(Array.from({ length: 8 }, () => conversations.history("a")));
    await read();
    proxy.reset();
    await read();
    await commits.close();
    const open = `SELECT count(*) FROM pg_stat_activity WHERE datname = '${database}'`;
    await until("no connection is left", async () => (await server.sql(open)) === "0");
    await server.sql(`DROP DATABASE ${database}`);
  });

  it("is migrated once by gateways that start at the same time", async () => {
    await using home = await postgresHome();
    const stores = await Promise.all([home.open(), home.open(), home.open()]);
    await Promise.all(stores.map((store, index) => store.append("a", [`${index}`])));
    assert.equal((await stores[0].history("a")).length, 3);
  });

  it("of a newer version is refused by name", async () => {
    await using home = await postgresHome();
    await home.open();
    const { server, address } = home;
    await server.sql("UPDATE picoclaw.schema SET version = 99", address.database);
    await assert.rejects(home.open(), {
      code: "config",
      message: "the database is of a newer picoclaw",
      why: /version 99, this program knows up to \d/,
    });
  });

  it("that is not there, or lets the user not in, is named without the password", async () => {
    await using server = await startPostgres({
      access: [
        "local all all trust",
        "host all postgres 127.0.0.1/32 trust",
        "host all all 127.0.0.1/32 scram-sha-256",
      ],
    });
    const password = new Secret("hunter-two");
    const open = (
      user: string,
      database: string,
      hosts = [{ host: "127.0.0.1", port: server.port }],
    ) =>
      openPostgres(
        addressOf(server, database, { user, hosts: hosts.map((host) => ({ ...host, password })) }),
        { owner: "one", now: () => 1, bounds: BOUNDS },
      );
    await assert.rejects(open("postgres", "nowhere"), { code: "refused", remedy: /createdb/ });
    await assert.rejects(open("nobody", "postgres"), (error: Error & { why?: string }) => {
      assert.match(JSON.stringify([error, error.message, error.why]), /nobody/);
      assert.doesNotMatch(JSON.stringify([error, error.message, error.why]), /hunter/);
      return true;
    });
    const nobody = [{ host: "127.0.0.1", port: 1 }];
    await assert.rejects(open("postgres", "postgres", nobody), {
      code: "unreachable",
      why: "the database at 127.0.0.1:1: the server refused the connection",
    });
    await server.sql("CREATE ROLE device LOGIN SUPERUSER PASSWORD 'hunter-two'");
    const { commits } = await open("device", "postgres");
    await commits.close();
  });

  it("goes on at the standby when the primary is gone, and nothing that was written is lost", async () => {
    await using primary = await startPostgres();
    const database = await primary.createDatabase();
    await using replica = await primary.startReplica();
    const hosts = [replica, primary].map(({ port }) => ({ host: "127.0.0.1", port }));
    await using home = await postgresHome({}, addressOf(primary, database, { hosts }));
    const store = await home.open();
    await store.append("a", ["1"]);
    await store.compact("a", 1, "summary");
    await primary.crash();
    await assert.rejects(store.append("a", ["lost"]), BUSY);
    await replica.promote();
    await until("the standby is reached", () =>
      store.append("a", ["2"]).then(
        () => true,
        () => false,
      ),
    );
    assert.deepEqual(await store.history("a"), ["summary", "2"]);
  });
});

/** Ten requests from their acceptance to the delivery of their answers. */
async function serve(store: PostgresStore<string>, lane: string): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) {
    const claim = await store.begin(await accepted(store, newRequest(`${turn}`, { lane })));
    assert.ok(claim);
    const [stored] = await Promise.all([store.load(claim), store.renew(), store.cluster.poll(1)]);
    assert.equal(stored?.request.text, `${turn}`);
    assert.ok(await store.answered(claim, { parts: [] }, [`${turn}`]));
    assert.ok(await store.delivered(claim));
  }
}

describe("PostgreSQL behind pgbouncer in transaction mode", needsPgbouncer, () => {
  it("works, although what was prepared is on another connection", async () => {
    const server = await sharedPostgres();
    await using pooler = await startPgbouncer(server);
    const database = await server.createDatabase();
    await using home = await postgresHome({}, addressOf(pooler, database));
    const store = await home.open();
    for (let turn = 0; turn < 10; turn += 1) {
      await Promise.all([store.append("a", [`${turn}`]), store.append("b", [`${turn}`])]);
      assert.equal((await store.history("a")).at(-1), `${turn}`);
    }
  });

  it("serves several gateways with fewer connections than they have", async () => {
    const server = await sharedPostgres();
    await using pooler = await startPgbouncer(server);
    const database = await server.createDatabase();
    await using home = await postgresHome({}, addressOf(pooler, database));
    const stores = [await home.open(), await home.open(), await home.open()];
    await Promise.all(stores.map((store, index) => serve(store, `${index}`)));
  });
});
