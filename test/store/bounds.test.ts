import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { describe, it } from "node:test";
import type { Store } from "../../src/store/contract/store.ts";
import { BOUNDS, newRequest } from "./contract.ts";
import { sqliteHome } from "./sqlite-home.ts";

const HOUR_MS = 60 * 60_000;
const DAY_MS = 24 * HOUR_MS;

const lanesOf = async (store: Store<string>): Promise<readonly string[]> =>
  (await store.conversations()).map(({ name }) => name);

describe("the conversations of a database", () => {
  it("of clients that never came again go beyond a number, the longest unused first, with their summaries", async () => {
    await using home = await sqliteHome();
    const store = await home.open({ bounds: { ...BOUNDS, conversations: 3 } });
    for (let index = 0; index < 900; index += 1) void store.append(`stranger ${index}`, ["hi"]);
    await store.append("a", ["1"]);
    const [turn] = (await store.conversation("a")).turns;
    assert.ok(await store.compact("a", turn?.id ?? 0, "a said 1"));
    home.pass(1);
    await store.append("b", ["2"]);
    await store.append("c", ["3"]);
    home.pass(DAY_MS - 2);
    await store.purge();
    assert.equal((await store.conversations()).length, 903, "they were all used within a day");
    home.pass(HOUR_MS);
    await store.append("d", ["4"]);
    // Bit by bit, so that nobody waits for it.
    for (let sweep = 0; sweep < 3; sweep += 1) await store.purge();
    assert.deepEqual(await lanesOf(store), ["d", "b", "c"]);
    assert.deepEqual(await store.history("a"), []);
    const db = new DatabaseSync(home.file);
    assert.equal(db.prepare("SELECT count(*) AS n FROM cuts").get()?.["n"], 0);
    db.close();
  });

  it("that hold too much go in the same order, as many as it takes", async () => {
    await using home = await sqliteHome();
    const bounds = { ...BOUNDS, hiddenBytes: 10_000, conversationBytes: 10_000 };
    const store = await home.open({ bounds });
    for (const lane of ["a", "b", "c", "d"]) {
      await store.append(lane, ["x".repeat(4000)]);
      home.pass(HOUR_MS);
    }
    await store.append("b", ["again"]);
    home.pass(DAY_MS + HOUR_MS);
    await store.purge();
    assert.deepEqual(await lanesOf(store), ["b", "d"]);
    home.pass(HOUR_MS);
    await store.append("a", ["anew"]);
    assert.deepEqual(await store.history("a"), ["anew"]);
  });

  it("keep their latest turns where one has too many, also when nothing ever cut it", async () => {
    await using home = await sqliteHome();
    const store = await home.open({ bounds: { ...BOUNDS, turns: 5 } });
    for (let index = 0; index < 8; index += 1) {
      await store.append("a", [`a${index}`]);
      if (index < 4) await store.append("b", [`b${index}`]);
    }
    await store.purge();
    const { turns } = await store.conversation("a");
    assert.deepEqual(
      turns.flatMap(({ messages }) => messages),
      ["a3", "a4", "a5", "a6", "a7"],
    );
    assert.equal((await store.conversation("b")).turns.length, 4);
  });

  it("lose the oldest turns of one that holds too much as soon as one is added, whatever others hold", async () => {
    await using home = await sqliteHome();
    const store = await home.open({ bounds: { ...BOUNDS, turnBytes: 8000 } });
    await store.append("b", ["x".repeat(7000)]);
    for (let index = 0; index < 50; index += 1) {
      await store.append("a", [`${index}`.padEnd(996)]);
      const [a] = await store.conversations();
      assert.ok(a && a.bytes <= 8000);
    }
    const { turns } = await store.conversation("a");
    assert.equal(turns.at(-1)?.messages[0]?.trim(), "49");
    assert.ok(turns.length === 7 || turns.length === 8);
    await store.append("a", ["y".repeat(20_000)]);
    assert.deepEqual(await store.history("a"), ["y".repeat(20_000)]);
    await store.append("a", ["the last one stays"]);
    assert.deepEqual(await store.history("a"), ["the last one stays"]);
    assert.equal((await store.history("b")).length, 1);
  });

  it("keep what was said on other days where too much is said on one", async () => {
    await using home = await sqliteHome();
    const bounds = { ...BOUNDS, turnBytes: 100_000, turnBytesPerDay: 4000 };
    const store = await home.open({ bounds });
    await store.append("a", ["long ago"]);
    home.pass(DAY_MS);
    for (let index = 0; index < 30; index += 1) await store.append("a", [`${index}`.padEnd(496)]);
    const said = (await store.conversation("a")).turns.map(({ messages }) => messages[0]?.trim());
    assert.deepEqual([said[0], said.at(-1)], ["long ago", "29"]);
    assert.ok(said.length === 8 || said.length === 9, `${said.length}`);
    // The next day has its own, in the next process, too.
    home.pass(DAY_MS);
    const again = await home.open({ bounds });
    for (let index = 0; index < 7; index += 1) await again.append("a", [`${index}`.padEnd(496)]);
    assert.equal((await again.conversation("a")).turns.length, said.length + 7);
  });

  it("know how much one holds after a turn that could not be written, and after it was deleted elsewhere", async () => {
    await using home = await sqliteHome();
    const bounds = { ...BOUNDS, turnBytes: 8000 };
    const store = await home.open({ bounds });
    for (let index = 0; index < 7; index += 1) await store.append("a", [`${index}`.padEnd(996)]);
    for (let tries = 0; tries < 20; tries += 1) {
      const failed = { put: [{ name: "x", state: { toJSON: () => assert.fail("no") } }], drop: [] };
      const results = await Promise.allSettled([
        store.append("a", ["z".repeat(900)]),
        store.count(() => failed),
      ]);
      assert.deepEqual(
        results.map(({ status }) => status),
        ["rejected", "rejected"],
      );
    }
    await store.append("a", ["7".padEnd(900)]);
    assert.equal((await store.conversation("a")).turns.length, 8);
    const other = await home.open({ bounds });
    await other.erase("a");
    for (let index = 0; index < 7; index += 1) await store.append("a", [`${index}`.padEnd(996)]);
    assert.equal((await store.conversation("a")).turns.length, 7);
  });

  it("that were deleted are remembered as such, but not all of them for ever", async () => {
    await using home = await sqliteHome();
    const store = await home.open({ bounds: { ...BOUNDS, conversations: 2 } });
    for (const lane of ["a", "b", "c"]) {
      await store.append(lane, ["1"]);
      await store.erase(lane);
      home.pass(1);
    }
    const adopts = (lane: string) =>
      store.importConversation(lane, { turns: [{ messages: ["elsewhere"] }] });
    await store.purge();
    assert.equal(await adopts("a"), false);
    home.pass(DAY_MS);
    await store.purge();
    assert.deepEqual(await Promise.all(["a", "b", "c"].map(adopts)), [true, false, false]);
  });
});

describe("the requests of a database", () => {
  it("that could not be written take no room", async () => {
    await using home = await sqliteHome();
    const store = await home.open({ bounds: { ...BOUNDS, rows: 5 } });
    const rooms: boolean[] = [];
    const admission = {
      admit(hasRoom: boolean) {
        rooms.push(hasRoom);
        return "wait" as const;
      },
      repeat: () => undefined,
    };
    for (let tries = 0; tries < 10; tries += 1) {
      const failed = { put: [{ name: "x", state: { toJSON: () => assert.fail("no") } }], drop: [] };
      await Promise.allSettled([
        store.accept(newRequest("?"), admission),
        store.count(() => failed),
      ]);
    }
    await store.accept(newRequest("?"), admission);
    assert.deepEqual(
      rooms,
      Array.from({ length: 11 }, () => true),
    );
  });

  it("are not added up again for each request to a full lane", async () => {
    await using home = await sqliteHome();
    const store = await home.open({ bounds: { ...BOUNDS, laneRows: 2 } });
    const rooms: boolean[] = [];
    const admission = {
      admit(hasRoom: boolean) {
        rooms.push(hasRoom);
        return hasRoom ? ("wait" as const) : { parts: [] };
      },
      repeat: () => undefined,
    };
    const ask = (text: string) => store.accept(newRequest(text), admission);
    for (const text of ["1", "2", "3"]) await ask(text);
    // Another connection makes room, of which the store does not know.
    const db = new DatabaseSync(home.file);
    db.exec("DELETE FROM requests");
    db.close();
    await ask("4");
    await store.purge();
    await ask("5");
    assert.deepEqual(rooms, [true, true, false, false, true]);
  });

  it("have room in a full lane as soon as an answer was delivered", async () => {
    await using home = await sqliteHome();
    const store = await home.open({ bounds: { ...BOUNDS, laneBytes: 4000, laneRows: 100 } });
    const rooms: boolean[] = [];
    const admission = {
      admit(hasRoom: boolean) {
        rooms.push(hasRoom);
        return hasRoom ? ("begin" as const) : { parts: [] };
      },
      repeat: () => undefined,
    };
    const ask = (text: string) => store.accept(newRequest(text, { name: text.trim() }), admission);
    const first = await ask("1".padEnd(2000));
    await ask("2".padEnd(2000));
    assert.ok(first.is === "new");
    assert.ok(await store.answered(first.claim, { parts: ["!"] }, []));
    assert.ok(await store.delivered(first.claim));
    await ask("3".padEnd(2000));
    assert.deepEqual(rooms, [true, false, true]);
  });

  it("whose window is over go a part with each purge, so that a flood holds nobody up twice", async () => {
    await using home = await sqliteHome();
    const store = await home.open();
    const db = new DatabaseSync(home.file);
    db.exec(`WITH RECURSIVE many (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < 20100)
      INSERT INTO requests (name, ticket, state, owner, attempt, lease_until, bytes, delivered_at)
      SELECT n, '{}', 2, '', 0, 0, 512, 0 FROM many`);
    const left = db.prepare("SELECT count(*) AS rows FROM requests");
    for (const rows of [100, 0]) {
      await store.purge();
      assert.equal(left.get()?.["rows"], rows);
    }
    db.close();
  });
});
