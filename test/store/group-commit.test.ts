import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { describe, it } from "node:test";
import { setImmediate as turnOfLoop } from "node:timers/promises";
import { GroupCommit } from "../../src/store/group-commit.ts";
import { openLogSync } from "../../src/store/sqlite/log-sync.ts";
import { until } from "../support/until.ts";
import { sqliteHome } from "./sqlite-home.ts";

describe("a group commit", () => {
  it("waits for the disk only for work that has to survive a loss of power", async () => {
    await using setup = await createSetup();
    const { commits, disk } = setup;
    assert.equal(await commits.run(() => 1, "process"), 1);
    assert.equal(disk.asked, 0);
    const together = [commits.run(() => 2, "process"), commits.run(() => 3), commits.run(() => 4)];
    await disk.isAsked(1);
    assert.deepEqual(await settledOf(together), [false, false, false]);
    disk.finish(null);
    assert.deepEqual(await Promise.all(together), [2, 3, 4]);
    let later: Promise<number> | undefined;
    await commits.run(() => void (later = commits.run(() => 5)), "process");
    await disk.isAsked(2);
    disk.finish(null);
    assert.equal(await later, 5);
    // A read that waits for a write does not wait for the disk.
    const reads = [commits.run(() => 6, "process"), commits.read(() => 7)];
    assert.deepEqual(await Promise.all(reads), [6, 7]);
    assert.equal(disk.asked, 2);
  });

  it("does in one transaction what is asked for while it waits for the disk", async () => {
    await using setup = await createSetup();
    const { commits, disk, counts } = setup;
    const first = commits.run(() => 1);
    await disk.isAsked(1);
    assert.equal(await commits.read(() => "a read"), "a read");
    const more = [commits.run(() => 2), commits.run(() => 3, "process"), commits.run(() => 4)];
    assert.deepEqual(await settledOf([first, ...more]), [false, false, false, false]);
    disk.finish(null);
    assert.equal(await first, 1);
    await disk.isAsked(2);
    assert.deepEqual(await settledOf(more), [false, false, false]);
    disk.finish(null);
    assert.deepEqual(await Promise.all(more), [2, 3, 4]);
    assert.deepEqual(counts, [1, 3]);
  });

  it("whose disk fails begins a new log before anything else is written", async () => {
    await using setup = await createSetup();
    const { commits, disk, insert, inFile } = setup;
    const first = commits.run(() => insert("first"));
    await disk.isAsked(1);
    // Somebody reads pages of the log, so they cannot leave it.
    const reader = new DatabaseSync(setup.file, { readOnly: true });
    reader.exec("BEGIN");
    reader.prepare("SELECT count(*) FROM t").get();
    disk.finish(new Error("EIO"));
    assert.deepEqual(await settledOf([first]), [false]);
    await assert.rejects(
      commits.run(() => insert("refused")),
      { code: "busy", why: /EIO/ },
    );
    assert.deepEqual(await settledOf([first]), [false]);
    reader.close();
    const second = commits.run(() => insert("second"), "process");
    await Promise.all([first, second]);
    assert.deepEqual(inFile(), ["first"]);
    // Where nobody does, that is so at once.
    const third = commits.run(() => insert("third"));
    await disk.isAsked(2);
    disk.finish(new Error("EIO"));
    await third;
    assert.deepEqual(inFile(), ["first", "second", "third"]);
  });

  it("is over when it is closed, also while it waits for the disk or after that failed", async () => {
    for (const error of [undefined, new Error("EIO")]) {
      await using setup = await createSetup();
      const { commits, disk, insert } = setup;
      const first = commits.run(() => insert("first"));
      await disk.isAsked(1);
      const reader = new DatabaseSync(setup.file, { readOnly: true });
      reader.exec("BEGIN");
      reader.prepare("SELECT count(*) FROM t").get();
      if (error !== undefined) disk.finish(error);
      reader.close();
      const second = commits.run(() => insert("second"));
      commits.close();
      assert.deepEqual(await settledOf([first, second]), [true, true]);
      assert.equal(disk.waited, error === undefined ? 2 : 1);
      await assert.rejects(
        commits.run(() => 1),
        { code: "busy" },
      );
      if (error === undefined) disk.finish(null);
    }
  });

  it("syncs the log of its database", async () => {
    await using setup = await createSetup();
    const sync = openLogSync(setup.db, setup.file);
    assert.ok(sync);
    sync.now();
    for (const calls of [1, 2]) {
      const synced = Promise.withResolvers<Error | null>();
      sync.start(calls, synced.resolve);
      if (calls === 2) sync.close();
      assert.equal(await synced.promise, null);
    }
    assert.equal(openLogSync(new DatabaseSync(":memory:"), "memory"), undefined);
    assert.equal(openLogSync(setup.db, `${setup.file} elsewhere`), undefined);
  });
});

/** A store's database with one more table, and a disk that syncs its log when it is told to. */
async function createSetup() {
  const home = await sqliteHome();
  await (await home.open()).close();
  const db = new DatabaseSync(home.file);
  db.exec("CREATE TABLE t (a TEXT); PRAGMA wal_checkpoint(TRUNCATE); PRAGMA busy_timeout = 50");
  const counts: number[] = [];
  const disk = createDisk();
  const commits = new GroupCommit(db, home.file, {
    sync: disk,
    onCommit: (calls) => void counts.push(calls),
  });
  return {
    db,
    file: home.file,
    commits,
    disk,
    counts,
    insert: (text: string) => db.prepare("INSERT INTO t VALUES (?)").run(text),
    /** Without the log. */
    inFile: () => {
      const whole = new DatabaseSync(`file:${home.file}?immutable=1`, { readOnly: true });
      const texts = whole.prepare("SELECT a FROM t").all();
      whole.close();
      return texts.map(({ a }) => a);
    },
    async [Symbol.asyncDispose]() {
      commits.close();
      db.close();
      await home[Symbol.asyncDispose]();
    },
  };
}

function createDisk() {
  let done: ((error: Error | null) => void) | undefined;
  return {
    /** Syncs on another thread, and those that were waited for. */
    asked: 0,
    waited: 0,
    start(_calls: number, callBack: (error: Error | null) => void) {
      this.asked += 1;
      done = callBack;
    },
    now() {
      this.waited += 1;
    },
    close() {},
    async isAsked(times: number) {
      await until(`the disk syncs for the ${times}. time`, () => this.asked === times);
    },
    finish(error: Error | null) {
      done?.(error);
      done = undefined;
    },
  };
}

/** Which of these are settled after some turns of the event loop. */
async function settledOf(promises: readonly Promise<unknown>[]): Promise<readonly boolean[]> {
  const settled = promises.map(() => false);
  for (const [index, promise] of promises.entries())
    void promise.then(() => (settled[index] = true));
  for (let turns = 0; turns < 5; turns += 1) await turnOfLoop();
  return settled;
}
