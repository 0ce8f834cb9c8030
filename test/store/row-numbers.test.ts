import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { describe, it } from "node:test";
import { GroupCommit } from "../../src/store/group-commit.ts";
import { RowNumbers } from "../../src/store/sqlite/row-numbers.ts";
import { BOUNDS, done, newRequest } from "./contract.ts";
import { sqliteHome } from "./sqlite-home.ts";

describe("the numbers of rows", () => {
  it("grow with each row, whichever process writes it", async () => {
    await using home = await sqliteHome();
    const processes = [await home.open(), await home.open()];
    const numbers: number[] = [];
    for (let round = 0; round < 6; round += 1) {
      for (const [index, store] of processes.entries()) {
        const acceptance = await store.accept(newRequest(`${round} of ${index}`));
        assert.ok(acceptance.is === "new");
        numbers.push(acceptance.claim.seq);
        await store.append("shared", [`${round} of ${index}`]);
      }
    }
    assert.deepEqual(
      numbers,
      numbers.toSorted((a, b) => a - b),
    );
    assert.equal(new Set(numbers).size, numbers.length);
    const turns = await processes[0]?.conversation("shared");
    assert.deepEqual(
      turns?.turns.slice(-4).map(({ messages }) => messages[0]),
      ["4 of 0", "4 of 1", "5 of 0", "5 of 1"],
    );
  });

  it("are not used again when their rows are deleted", async () => {
    await using home = await sqliteHome();
    let highest = 0;
    for (let start = 0; start < 3; start += 1) {
      const store = await home.open();
      await done(store, newRequest(`of start ${start}`));
      await store.erase("lane");
      home.pass(BOUNDS.windowMs);
      await store.purge();
      const acceptance = await store.accept(newRequest("?", { mayRepeat: false }));
      assert.ok(acceptance.is === "new");
      assert.ok(acceptance.claim.seq > highest + 1);
      highest = acceptance.claim.seq;
      await store.append("lane", ["later"]);
      assert.deepEqual(await store.history("lane"), ["later"]);
    }
  });

  it("are not those that another process got after a transaction that failed", async () => {
    await using home = await sqliteHome();
    await (await home.open()).close();
    const files = [new DatabaseSync(home.file), new DatabaseSync(home.file)];
    const [ours, others] = files.map((db) => {
      const numbers = new RowNumbers(db, "requests");
      const commits = new GroupCommit(db, home.file, { onRollback: () => numbers.rolledBack() });
      return { next: () => commits.run(() => numbers.next()), commits, numbers };
    });
    assert.ok(ours && others);
    const failing = ours.commits.run(() => {
      ours.numbers.next();
      throw new Error("full");
    });
    await assert.rejects(failing, { code: "busy" });
    const theirs = [await others.next(), await others.next()];
    const number = await ours.next();
    assert.ok(number > Math.max(...theirs));
    assert.ok((await others.next()) > number);
    for (const db of files) db.close();
  });

  it("are written down once for many rows", async () => {
    await using home = await sqliteHome();
    const store = await home.open();
    const db = new DatabaseSync(home.file);
    const written = (): unknown =>
      db.prepare("SELECT name, seq FROM sqlite_sequence ORDER BY name").all();
    await done(store, newRequest("first"));
    const before = written();
    for (let index = 0; index < 20; index += 1) await done(store, newRequest(`${index}`));
    assert.deepEqual(written(), before);
    db.close();
  });
});
