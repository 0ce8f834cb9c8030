import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { ConversationStore } from "../../src/store/contract/conversations.ts";
import { Conversations } from "../../src/store/sqlite/conversations.ts";
import { RecentTurns } from "../../src/store/sqlite/recent-turns.ts";
import { migrate } from "../../src/store/sqlite/schema.ts";
import { BOUNDS } from "./contract.ts";
import { sqliteHome } from "./sqlite-home.ts";

type Act = (store: ConversationStore<string>, number: number) => Promise<unknown>;

const name = fc.constantFrom("a", "b");
const act: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .tuple(
        name,
        fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 4 }),
        fc.integer({ max: 9 }),
      )
      .map(([of, sizes, dice]): Act => {
        return async (store, number) => {
          for (const size of sizes) {
            const messages = Array.from({ length: size }, (_, index) => `${number}.${index}`);
            await store.append(of, messages, dice === 0);
          }
        };
      }),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(name, fc.nat()).map(([of, pick]): Act => {
      return async (store, number) => {
        const { turns } = await store.conversation(of);
        const turn = turns[pick % Math.max(1, turns.length)];
        if (turn !== undefined) await store.compact(of, turn.id, `summary ${number}`);
      };
    }),
  },
  name.map(
    (of): Act =>
      (store) =>
        store.erase(of),
  ),
  { weight: 2, arbitrary: fc.constant<Act>((store) => store.purge()) },
);

/** The history as all turns of the conversation make it. */
async function wholeHistory(store: ConversationStore<string>, of: string): Promise<unknown> {
  const { summary, turns } = await store.conversation(of);
  let messages: readonly string[] = [];
  for (const turn of turns.toReversed()) {
    const more = [...turn.messages, ...messages];
    if (messages.length > 0 && more.length > BOUNDS.messages) break;
    messages = more;
  }
  return summary === undefined ? messages : [summary, ...messages];
}

describe("the turns that were read last", () => {
  it("make the same histories as all turns, whichever of two processes changes them", async () => {
    const acts = fc.array(fc.tuple(act, fc.nat({ max: 1 })), { maxLength: 24 });
    // With few turns and bytes, each limit deletes turns of the history.
    const size = fc.constantFrom(40, 4000);
    const property = fc.asyncProperty(acts, size, async (all, turnBytes) => {
      await using home = await sqliteHome();
      const turns = turnBytes / 20;
      const bounds = { ...BOUNDS, turnBytes, turnBytesPerDay: turnBytes, hiddenTurns: 3, turns };
      const stores = [await home.open({ bounds }), await home.open({ bounds })];
      for (const [number, [each, by]] of all.entries()) {
        home.pass(3_700_000);
        const store = stores[by];
        if (store !== undefined) await each(store, number);
        for (const reader of stores) {
          for (const lane of ["a", "b"]) {
            assert.deepEqual(await reader.history(lane), await wholeHistory(reader, lane));
          }
        }
      }
    });
    await fc.assert(property, { numRuns: 60 });
  });

  it("are the same objects in the next history", async () => {
    const { conversations } = openConversations();
    conversations.append("a", [{ text: "1" }]);
    const [first] = conversations.history("a");
    conversations.append("a", [{ text: "2" }]);
    const [again, second] = conversations.history("a");
    assert.equal(again, first);
    assert.deepEqual(second, { text: "2" });
  });

  it("are forgotten when what was written before they were read is undone", () => {
    const { db, conversations } = openConversations();
    db.exec("BEGIN");
    conversations.append("a", [{ text: "undone" }]);
    assert.equal(conversations.history("a").length, 1);
    db.exec("ROLLBACK");
    conversations.rolledBack();
    assert.deepEqual(conversations.history("a"), []);
  });

  it("are at most a million characters: the conversation that was read longest ago goes first", () => {
    const recent = new RecentTurns<string>();
    const turn = { id: 1, at: 0, messages: ["?"], characters: 400_000 };
    for (const lane of ["a", "b", "a", "c"]) recent.set(lane, 0, [turn]);
    const known = ["a", "b", "c"].map((of) => recent.get(of, 0, 0).length);
    assert.deepEqual(known, [1, 0, 1]);
    recent.set("large", 0, [{ ...turn, characters: 2 ** 21 }]);
    assert.deepEqual(recent.get("large", 0, 0), []);
    recent.set("a", 0, [turn]);
    assert.deepEqual([recent.get("a", 1, 0), recent.get("a", 0, 0)], [[], [turn]]);
  });
});

function openConversations() {
  const db = new DatabaseSync(":memory:");
  migrate(db, "the file");
  const options = { now: () => 1_800_000_000_000, bounds: BOUNDS };
  return { db, conversations: new Conversations<{ readonly text: string }>(db, options) };
}
