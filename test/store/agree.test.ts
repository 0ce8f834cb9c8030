import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { ConversationStore, StoredTurn } from "../../src/store/contract/conversations.ts";
import type { StoreBounds, StoreOptions } from "../../src/store/contract/store.ts";
import { createMemoryStore } from "../../src/store/sqlite/store.ts";
import { needsPostgres } from "../support/postgres.ts";
import { BOUNDS } from "./contract.ts";
import { PlainConversations } from "./plain-conversations.ts";
import { postgresHome } from "./postgres-home.ts";
import { sqliteHome } from "./sqlite-home.ts";

/** One thing that is done to conversations; its result must not depend on how they are stored. */
type Act = (to: ConversationStore<string> | PlainConversations, number: number) => unknown;

const name = fc.constantFrom("a", "b");

const act: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .tuple(name, fc.integer({ min: 0, max: 9 }), fc.boolean())
      .map(([of, size, forgets]): Act => {
        return (to, number) => {
          const messages = Array.from({ length: size }, (_, index) => `${number}.${index}é`);
          return to.append(of, messages, forgets && number % 5 === 0);
        };
      }),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(name, fc.integer({ min: 0, max: 25 }), fc.boolean())
      .map(([of, through, isSummarized]): Act => {
        return (to, number) =>
          to.compact(of, through, isSummarized ? `summary ${number}` : undefined);
      }),
  },
  name.map(
    (of): Act =>
      (to) =>
        to.erase(of),
  ),
  fc.tuple(name, fc.boolean()).map(([of, isSummarized]): Act => {
    return (to, number) =>
      to.importConversation(of, {
        turns: [{ messages: [`imported ${number}`], at: number }],
        ...(isSummarized && { summary: `imported summary ${number}` }),
      });
  }),
  fc.constant((to: ConversationStore<string> | PlainConversations) => to.purge()),
);

async function stateOf(of: ConversationStore<string> | PlainConversations): Promise<unknown> {
  const state: unknown[] = [await of.conversations()];
  for (const each of ["a", "b"]) {
    const transcript: StoredTurn<string>[] = [];
    for await (const turn of of.transcript(each)) transcript.push(turn);
    state.push(await of.history(each), await of.conversation(each), transcript);
  }
  return state;
}

const START = 1_800_000_000_000;
const size = fc.integer({ min: 60, max: 400 });
const sizes = fc.record({ turnBytes: size, turnBytesPerDay: size });
const anyActs = fc.array(act, { maxLength: 22 });

type Open = (
  options: Pick<StoreOptions, "now" | "bounds">,
) => Promise<readonly ConversationStore<string>[]>;

/** Does the same to plain lists and to stores, and compares all results. */
async function agree(acts: readonly Act[], bytes: Partial<StoreBounds>, open: Open): Promise<void> {
  let time = START;
  const now = (): number => time;
  const bounds = { ...BOUNDS, hiddenTurns: 3, ...bytes };
  const plain = new PlainConversations({ now, bounds });
  const stores = await open({ now, bounds });
  for (const [number, each] of acts.entries()) {
    // More than an hour, so that purge looks at the turns again; in all less than a day, after
    // which memory forgets.
    time += 3_700_000;
    const expected = each(plain, number);
    for (const store of stores) assert.deepEqual(await each(store, number), expected);
  }
  const expected = await stateOf(plain);
  for (const store of stores) {
    assert.deepEqual(await stateOf(store), expected);
    await store.close();
  }
}

describe("conversations in memory and in a file", () => {
  it("are those of plain lists after any sequence of turns, compactions, deletions and imports", async () => {
    const property = fc.asyncProperty(anyActs, sizes, async (acts, bytes) => {
      await using home = await sqliteHome();
      await agree(acts, bytes, async (options) => [
        createMemoryStore<string>({ owner: "one", ...options }),
        await home.open(options),
      ]);
    });
    await fc.assert(property, { numRuns: 60 });
  });
});

describe("conversations in PostgreSQL", needsPostgres, () => {
  it("are those of plain lists, too", async () => {
    await using home = await postgresHome();
    const property = fc.asyncProperty(anyActs, sizes, async (acts, bytes) => {
      await agree(acts, bytes, async (options) => {
        const store = await home.open(options);
        await home.server.sql(
          "TRUNCATE picoclaw.turns, picoclaw.cuts RESTART IDENTITY",
          home.address.database,
        );
        return [store];
      });
    });
    await fc.assert(property, { numRuns: 15 });
  });
});
