import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { needsPostgres, sharedPostgres, startPostgres } from "../support/postgres.ts";

describe("a PostgreSQL of the tests", needsPostgres, () => {
  it("keeps what was committed through a crash, and its standby has it when it is promoted", async () => {
    await using primary = await startPostgres();
    const database = await primary.createDatabase();
    await using replica = await primary.startReplica();
    await primary.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)", database);
    await assert.rejects(replica.sql("INSERT INTO t VALUES (2)", database), /read-only/);
    await primary.crash();
    assert.equal(primary.pid, undefined);
    await replica.promote();
    await replica.sql("INSERT INTO t VALUES (2)", database);
    assert.equal(await replica.sql("SELECT a FROM t ORDER BY a", database), "1\n2");
    await primary.start();
    assert.equal(await primary.sql("SELECT a FROM t", database), "1");
    await primary.stop();
  });

  it("is one for all tests that leave it as it is, with databases of their own", async () => {
    const [first, second] = [await sharedPostgres(), await sharedPostgres()];
    assert.equal(first, second);
    assert.notEqual(await first.createDatabase(), await second.createDatabase());
  });
});
