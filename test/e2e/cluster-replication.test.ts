import assert from "node:assert/strict";
import { it } from "node:test";
import { onceInCi, picoclaw, quickConfig, temporaryHome } from "../support/picoclaw.ts";
import { needsPostgres, startPostgres } from "../support/postgres.ts";
import { until } from "../support/until.ts";

const needs = { skip: needsPostgres.skip || onceInCi.skip };
const LOSES = /^warn +gateway\.store +.*its standby is asynchronous/m;

it(
  "a database whose commits wait for no standby is named, to a role without rights",
  needs,
  async () => {
    await using primary = await startPostgres();
    await primary.sql("CREATE ROLE gw LOGIN");
    await primary.sql("CREATE DATABASE shared OWNER gw");
    const store = primary.url("shared").replace("postgres@", "gw@");
    await using home = await temporaryHome(
      quickConfig("tcp://127.0.0.1:1", {}, { gateway: { store } }),
    );
    const report = async (): Promise<string> => {
      const { stdout } = await picoclaw(["doctor", "--offline"], { home: home.path });
      assert.match(stdout, /^ok +gateway\.store +.*gateways share/m);
      return stdout;
    };
    assert.doesNotMatch(await report(), LOSES);
    await using _replica = await primary.startReplica();
    assert.doesNotMatch(await report(), LOSES);
    await primary.sql("ALTER SYSTEM SET synchronous_commit = 'local'");
    const isNow = async (name: string, value: string): Promise<void> => {
      await primary.sql("SELECT pg_reload_conf()");
      await until(`${name} is set`, async () => (await primary.sql(`SHOW ${name}`)) === value);
    };
    await isNow("synchronous_commit", "local");
    assert.match(await report(), LOSES);
    await primary.sql("ALTER SYSTEM RESET ALL");
    await isNow("synchronous_standby_names", "");
    assert.match(await report(), LOSES);
  },
);
