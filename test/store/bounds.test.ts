import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { describe, it } from "node:test";
import type { Store } from "../../src/store/contract.ts";
import { BOUNDS } from "./contract.ts";
import { sqliteHome } from "./sqlite-home.ts";

const HOUR_MS = 60 * 60_000;
const DAY_MS = 24 * HOUR_MS;

const lanesOf = async (store: Store<string>): Promise<readonly string[]> =>
  (await store.sessions()).map(({ lane }) => lane);

describe("the conversations of a database", () => {
  it("of those that never came again go beyond a number, the ones longest unused first, with all that was kept of them", async () => {
    await using home = await sqliteHome();
    const store = await home.open({ bounds: { ...BOUNDS, conversations: 3 } });
    for (let index = 0; index < 900; index += 1) void store.append(`stranger ${index}`, ["hi"]);
    await store.append("a", ["1"]);
    const [turn] = (await store.conversation("a")).turns;
    assert.ok(await store.cut("a", turn?.id ?? 0, "a said 1"));
    home.pass(1);
    await store.append("b", ["2"]);
    await store.append("c", ["3"]);
    home.pass(DAY_MS - 2);
    await store.purge();
    assert.equal((await store.sessions()).length, 903, "they were all used within a day");
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

  it("that were deleted are remembered as such, but not all of them for ever", async () => {
    await using home = await sqliteHome();
    const store = await home.open({ bounds: { ...BOUNDS, conversations: 2 } });
    for (const lane of ["a", "b", "c"]) {
      await store.append(lane, ["1"]);
      await store.erase(lane);
      home.pass(1);
    }
    const adopts = (lane: string) => store.adopt(lane, { turns: [{ messages: ["elsewhere"] }] });
    await store.purge();
    assert.equal(await adopts("a"), false);
    home.pass(DAY_MS);
    await store.purge();
    assert.deepEqual(await Promise.all(["a", "b", "c"].map(adopts)), [true, false, false]);
  });
});
