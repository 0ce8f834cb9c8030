import assert from "node:assert/strict";
import { chmod, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { GroupCommit } from "../../src/store/group-commit.ts";
import { MIGRATIONS, migrate } from "../../src/store/sqlite/schema.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { accepted, BOUNDS, done, restartContract, storeContract, newRequest } from "./contract.ts";
import { sqliteHome } from "./sqlite-home.ts";

storeContract("SQLite", sqliteHome);
restartContract("SQLite", sqliteHome);

describe("the database", () => {
  it("writes what comes in one go with one commit, in order", async () => {
    await using home = await sqliteHome();
    const commits: number[] = [];
    const store = await home.open({ onCommit: (calls) => commits.push(calls) });
    const texts = Array.from({ length: 300 }, (_, index) => `${index}`);
    const claims = await Promise.all(texts.map((text) => accepted(store, newRequest(text))));
    assert.deepEqual(commits, [300]);
    assert.deepEqual(
      claims.map(({ seq }) => seq),
      texts.map((_, index) => index + 1),
    );
  });

  it("is for its owner's eyes alone", async () => {
    await using home = await sqliteHome();
    await done(await home.open(), newRequest("?"));
    for (const name of await readdir(dirname(home.file))) {
      const { mode } = await stat(`${dirname(home.file)}/${name}`);
      assert.equal(mode & 0o077, 0, name);
    }
    assert.equal((await stat(dirname(home.file))).mode & 0o077, 0);
  });

  it("that is full refuses with busy, writes nothing, and goes on when there is room", async () => {
    const db = new DatabaseSync(":memory:");
    db.exec("CREATE TABLE t (a TEXT); PRAGMA max_page_count = 8");
    const commits = new GroupCommit(db, "the file");
    const insert = db.prepare("INSERT INTO t VALUES (?)");
    const results = await Promise.allSettled([
      commits.run(() => insert.run("small")),
      commits.run(() => insert.run("x".repeat(100_000))),
    ]);
    for (const result of results) {
      assert.ok(result.status === "rejected" && result.reason instanceof Failure);
      assert.equal(result.reason.code, "busy");
      assert.equal(result.reason.retryAfter, 30);
      assert.match(result.reason.why ?? "", /the file: .*full/);
    }
    assert.equal(db.prepare("SELECT count(*) AS n FROM t").get()?.["n"], 0);
    db.exec("PRAGMA max_page_count = 1000");
    await commits.run(() => insert.run("x".repeat(100_000)));
    commits.close();
    await assert.rejects(
      commits.run(() => 1),
      { code: "busy" },
    );
    db.close();
  });

  it("that is full answers reads that came with a write", async () => {
    const db = new DatabaseSync(":memory:");
    db.exec("CREATE TABLE t (a TEXT); PRAGMA max_page_count = 8; INSERT INTO t VALUES ('old')");
    const commits = new GroupCommit(db, "the file");
    const insert = db.prepare("INSERT INTO t VALUES (?)");
    const all = db.prepare("SELECT a FROM t");
    const written = commits.run(() => insert.run("x".repeat(100_000)));
    const read = commits.read(() => all.all().map(({ a }) => a));
    const unreadable = commits.read(() => db.prepare("SELECT nothing").all());
    await assert.rejects(written, { code: "busy" });
    assert.deepEqual(await read, ["old"]);
    await assert.rejects(unreadable, { code: "busy", why: /nothing/ });
    commits.close();
    db.close();
  });

  it("waits for the disk for a request, its attempt and its answer, not for the delivery", async () => {
    await using home = await sqliteHome();
    const commits: string[] = [];
    const onCommit = (_calls: number, survives: string): void => void commits.push(survives);
    await done(await home.open({ onCommit }), newRequest("?"));
    assert.deepEqual(commits, ["power", "power", "power", "process"]);
  });

  it("of a newer version is refused and left as it is", async () => {
    await using home = await sqliteHome();
    await (await home.open()).close();
    const db = new DatabaseSync(home.file);
    db.exec("PRAGMA user_version = 999");
    db.close();
    const before = await readFile(home.file);
    await assert.rejects(home.open(), { code: "config", why: /version 999/ });
    assert.ok(before.equals(await readFile(home.file)));
  });

  it("that is corrupt is renamed with all it holds, which the log says, and a new one begins", async () => {
    for (const damage of ["header", "middle", "schema"] as const) {
      await using home = await sqliteHome();
      const first = await home.open();
      for (let index = 0; index < 50; index += 1) {
        await done(first, newRequest(`${index}`), ["x".repeat(2000)]);
      }
      await first.close();
      const bytes = await readFile(home.file);
      // A column by another name: the pages are whole, and no statement fits.
      if (damage === "schema") bytes.write("Attempt2", bytes.indexOf("attempt INTEGER"), "latin1");
      else if (damage === "header") bytes.fill(0xa5, 0, 100);
      else bytes.fill(0xa5, 5000);
      await writeFile(home.file, bytes);
      const log = createMemoryLog();
      const { lines } = log;
      const store = await home.open({ log });
      assert.deepEqual(await store.claimAbandoned(), []);
      await done(store, newRequest("new"));
      assert.deepEqual(
        lines.map(({ level }) => level),
        ["error"],
      );
      const quarantined = String(lines[0]?.fields["file"]);
      const kept = await readFile(quarantined);
      const differs = bytes.findIndex((byte, at) => byte !== kept[at]);
      assert.deepEqual([kept.length, differs], [bytes.length, -1], damage);
    }
  });

  it("that is large is not read as a whole at a start, but after a call found it corrupt", async () => {
    await using home = await sqliteHome();
    const first = await home.open();
    const long = "x".repeat(4000);
    await Promise.all(
      Array.from({ length: 1500 }, (_, index) => first.append(`lane ${index % 100}`, [long])),
    );
    await first.close();
    const bytes = await readFile(home.file);
    assert.ok(bytes.length > 5 * 2 ** 20);
    await writeFile(home.file, bytes.fill(0xa5, 200_000));
    const log = createMemoryLog();
    const { lines } = log;
    const store = await home.open({ log });
    assert.deepEqual(lines, []);
    const why = { code: "busy", why: /picoclaw\.db: .*malformed/, remedy: /restart the gateway/ };
    await assert.rejects(store.append("lane 5", [long]), why);
    await store.close();
    for (const text of ["new", "newer"]) {
      const next = await home.open({ log });
      assert.deepEqual(
        lines.map(({ level }) => level),
        ["error"],
      );
      await done(next, newRequest(text));
      await next.close();
    }
    const names = (await readdir(dirname(home.file))).toSorted();
    assert.equal(names.length, 2);
    assert.match(names.join(" "), /^picoclaw\.db picoclaw\.db\.corrupt-[\w.]+$/);
  });

  it("that cannot be had is refused with its path and a way out", async () => {
    await using home = await sqliteHome();
    await writeFile(`${home.folder}/state`, "a file where the folder should be");
    await assert.rejects(home.open(), { code: "config", why: /state/, remedy: /workspace/ });
    await chmod(home.folder, 0o700);
  });

  it("goes forward through every step it has not seen, or through none", () => {
    const db = new DatabaseSync(":memory:");
    const versionOf = () => db.prepare("PRAGMA user_version").get()?.["user_version"];
    migrate(db, "file", MIGRATIONS);
    assert.equal(versionOf(), MIGRATIONS.length);
    const more = [...MIGRATIONS, "CREATE TABLE one (a)", "INSERT INTO one VALUES (1)"];
    assert.throws(() => migrate(db, "file", [...more, "no SQL"]));
    assert.equal(versionOf(), MIGRATIONS.length);
    assert.throws(() => db.prepare("SELECT * FROM one"));
    migrate(db, "file", more);
    migrate(db, "file", more);
    assert.equal(versionOf(), MIGRATIONS.length + 2);
    assert.equal(db.prepare("SELECT count(*) AS n FROM one").get()?.["n"], 1);
  });

  it("of version 1 keeps its conversations, and can be cut from then on", async () => {
    await using home = await sqliteHome();
    await mkdir(dirname(home.file), { recursive: true });
    const db = new DatabaseSync(home.file);
    migrate(db, home.file, MIGRATIONS.slice(0, 1));
    const add = db.prepare("INSERT INTO turns (lane, messages, count, at) VALUES ('a', ?, 2, 5)");
    for (const turn of ["1", "2"]) add.run(JSON.stringify([`q${turn}`, `é${turn}`]));
    db.close();
    const store = await home.open();
    assert.deepEqual(await store.history("a"), ["q1", "é1", "q2", "é2"]);
    assert.equal((await store.conversations())[0]?.bytes, 2 * Buffer.byteLength('["q1","é1"]'));
    assert.ok(await store.compact("a", 1, "in short"));
    assert.deepEqual(await store.history("a"), ["in short", "q2", "é2"]);
  });

  it("says at the next start which requests a stop in their lane cancelled", async () => {
    await using home = await sqliteHome();
    const store = await home.open();
    const [lane, other] = ["stopped", "another"];
    await done(store, newRequest("answered before", { lane }));
    await accepted(store, newRequest("waits", { lane }));
    await accepted(store, newRequest("waits elsewhere", { lane: other }));
    const running = await store.begin(await accepted(store, newRequest("runs", { lane })));
    const stop = { admit: () => ({ stop: { parts: ["Stopped."] } }), repeat: () => undefined };
    const stopped = await store.accept(newRequest("/stop", { lane }), stop);
    assert.ok(stopped.is === "answered");
    assert.deepEqual(stopped.answer.parts, ["Stopped."]);
    await accepted(store, newRequest("comes later", { lane }));
    assert.ok(running);
    const next = await home.open({ sole: true, owner: "next" });
    const left = await next.claimAbandoned();
    assert.deepEqual(
      left.map(({ request, isCancelled }) => [request.name, isCancelled]),
      [
        [newRequest("waits").name, true],
        [newRequest("waits elsewhere").name, false],
        [newRequest("runs").name, true],
        [newRequest("comes later").name, false],
      ],
    );
  });

  it("of an earlier program continues with what that one left", async () => {
    await using home = await sqliteHome();
    await mkdir(dirname(home.file), { recursive: true });
    const db = new DatabaseSync(home.file);
    migrate(db, home.file, MIGRATIONS.slice(0, 5));
    const add = db.prepare(
      `INSERT INTO requests (name, lane, ticket, state, owner, attempt, lease_until, bytes, answer, failed, delivered_at)
       VALUES (?, 'a', ?, ?, 'gone', 0, 0, 600, ?, ?, ?)`,
    );
    const { mayRepeat: _repeat, retriesFailed: _retry, ...facts } = newRequest("?", { lane: "a" });
    const answer = '{"parts":["!"]}';
    const [undelivered, delivered] = [null, 1e15];
    add.run("waits", JSON.stringify({ ...facts, name: "waits" }), 0, null, 0, undelivered);
    add.run("answered", JSON.stringify({ ...facts, name: "answered" }), 1, answer, 0, undelivered);
    add.run("delivered", JSON.stringify({ ...facts, name: "delivered" }), 2, answer, 0, delivered);
    add.run("rejected", JSON.stringify({ ...facts, name: "rejected" }), 1, answer, 2, undelivered);
    db.close();
    const store = await home.open();
    const left = await store.claimAbandoned();
    assert.deepEqual(
      left.map(({ request: { name }, isAnswered }) => [name, isAnswered]),
      [
        ["waits", false],
        ["answered", true],
      ],
    );
    const rejections = await store.rejections(0, 10);
    assert.deepEqual(
      rejections.map(({ request: { name } }) => name),
      ["rejected"],
    );
    const again = await store.accept(newRequest("?", { name: "delivered", lane: "a" }));
    assert.ok(again.is === "known");
    assert.deepEqual(again.stored.answer?.parts, ["!"]);
  });

  it("reads a conversation by its index alone, however many others there are", async () => {
    await using home = await sqliteHome();
    await (await home.open()).close();
    const db = new DatabaseSync(home.file);
    const plan = db
      .prepare(
        "EXPLAIN QUERY PLAN SELECT messages FROM turns WHERE lane = ? AND id > ? ORDER BY id DESC",
      )
      .all("a", 0)
      .map((row) => String(row["detail"]));
    db.close();
    assert.deepEqual(plan, ["SEARCH turns USING INDEX turns_by_lane (lane=? AND id>?)"]);
  });
});

const MIB = 2 ** 20;
/** The bounds of a home. */
const HOME = { ...BOUNDS, turnBytes: 16 * MIB, turnBytesPerDay: 4 * MIB };

async function sizeOf(file: string): Promise<number> {
  const sizes = ["", "-wal"].map((end) => stat(file + end).catch(() => ({ size: 0 })));
  return (await Promise.all(sizes)).reduce((total, { size }) => total + size, 0);
}

describe("the file", () => {
  it("stays within bounds, whatever one client says for hours", async () => {
    await using home = await sqliteHome();
    const store = await home.open({ bounds: HOME });
    let largest = 0;
    // 64 MiB in two hours, and 4 MiB on each of the following days.
    for (let turn = 0; turn < 640; turn += 1) {
      await store.append("a", ["x".repeat(100_000)]);
      home.pass(turn < 600 ? 12_000 : 12_000 * 180);
      if (turn % 20 === 0) await store.purge();
      largest = Math.max(largest, await sizeOf(home.file));
    }
    assert.ok(largest < 4 * MIB * 1.25 + 5 * MIB, `${largest / MIB} MiB`);
    const [session] = await store.conversations();
    assert.ok(session && session.bytes <= 16 * MIB);
  });

  it("has a write-ahead log of up to 4 MB, whatever the size of its pages", async () => {
    for (const pages of [undefined, 4096]) {
      await using home = await sqliteHome();
      if (pages !== undefined) {
        await mkdir(dirname(home.file), { recursive: true });
        const db = new DatabaseSync(home.file);
        db.exec(`PRAGMA page_size = ${pages}; PRAGMA auto_vacuum = INCREMENTAL`);
        migrate(db, home.file);
        db.close();
      }
      const store = await home.open();
      for (let turn = 0; turn < 500; turn += 1) await store.append("a", ["x".repeat(20_000)]);
      const { size } = await stat(`${home.file}-wal`);
      assert.ok(size > 3_900_000 && size < 4 * MIB, `${size} bytes`);
    }
  });

  it("gives back the room of what was forgotten, a part with each purge", async () => {
    await using home = await sqliteHome();
    const roomy = { ...BOUNDS, turnBytes: 99 * MIB, turnBytesPerDay: 99 * MIB };
    const store = await home.open({ bounds: roomy });
    for (let turn = 0; turn < 200; turn += 1) void store.append("a", ["x".repeat(100_000)]);
    await store.append("b", ["stays"]);
    assert.ok((await stat(home.file)).size > 18 * MIB);
    await store.erase("a");
    for (let purges = 0; purges < 24; purges += 1) {
      const before = process.hrtime.bigint();
      await store.purge();
      assert.ok(process.hrtime.bigint() - before < 1_000_000_000n, "nobody waits for it");
    }
    await store.close();
    assert.ok((await stat(home.file)).size < 3 * MIB, `${(await stat(home.file)).size} bytes`);
    assert.deepEqual(await (await home.open()).history("b"), ["stays"]);
  });

  it("of an earlier program is written anew once, and can give room back from then on", async () => {
    await using home = await sqliteHome();
    await mkdir(dirname(home.file), { recursive: true });
    const db = new DatabaseSync(home.file);
    db.exec("PRAGMA journal_mode = WAL");
    migrate(db, home.file);
    const add = db.prepare(
      "INSERT INTO turns (lane, messages, count, bytes, at) VALUES (?,?,1,?,5)",
    );
    for (let turn = 0; turn < 50; turn += 1) add.run("a", JSON.stringify(["x".repeat(1e5)]), 1e5);
    add.run("b", '["stays"]', 9);
    db.exec("DELETE FROM turns WHERE lane = 'a'");
    db.close();
    assert.ok((await stat(home.file)).size > 4 * MIB);
    const log = createMemoryLog();
    const { lines } = log;
    const store = await home.open({ log });
    assert.ok((await stat(home.file)).size < MIB);
    assert.deepEqual([lines.length, lines[0]?.level], [1, "info"]);
    assert.deepEqual(await store.history("b"), ["stays"]);
    const again = new DatabaseSync(home.file, { readOnly: true });
    assert.equal(again.prepare("PRAGMA auto_vacuum").get()?.["auto_vacuum"], 2);
    again.close();
  });

  it("of an earlier program that somebody reads is served as it is", async () => {
    await using home = await sqliteHome();
    await mkdir(dirname(home.file), { recursive: true });
    const db = new DatabaseSync(home.file);
    db.exec("PRAGMA journal_mode = WAL");
    migrate(db, home.file);
    db.exec(
      "INSERT INTO turns (lane, messages, count, bytes, at) VALUES ('a', '[\"1\"]', 1, 5, 5)",
    );
    db.exec("BEGIN; SELECT * FROM turns");
    const store = await home.open();
    assert.deepEqual(await store.history("a"), ["1"]);
    await store.append("a", ["2"]);
    db.exec("COMMIT");
    db.close();
    assert.deepEqual(await store.history("a"), ["1", "2"]);
  });

  it("has further addresses for the next process, the latest eight of a request", async () => {
    await using home = await sqliteHome();
    const store = await home.open();
    const claim = await accepted(store, newRequest("?"));
    await accepted(store, newRequest("other"));
    const to = Array.from({ length: 9 }, (_, index) => ({
      address: `${index}'"\0`,
      stream: index > 0,
      id: "i",
      expiresAt: 5,
    }));
    for (const each of [...to, ...to.slice(1)]) assert.ok(await store.join(claim, each));
    const abandoned = await (await home.open({ sole: true })).claimAbandoned();
    assert.deepEqual(
      abandoned.map(({ joined }) => joined),
      [to.slice(1), undefined],
    );
  });
});
