import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import type { Store, StoredTurn } from "../../src/store/contract.ts";
import { createMemoryStore } from "../../src/store/memory.ts";
import { BOUNDS } from "./contract.ts";
import { sqliteHome } from "./sqlite-home.ts";

type Act = (store: Store<string>, number: number) => Promise<unknown>;

const lane = fc.constantFrom("a", "b");

/** One thing that is done to a store; what it says must not depend on the store. */
const act: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .tuple(lane, fc.integer({ min: 0, max: 9 }), fc.boolean())
      .map(([name, size, forgets]): Act => {
        return (store, number) => {
          const messages = Array.from({ length: size }, (_, index) => `${number}.${index}é`);
          return store.append(name, messages, forgets && number % 5 === 0);
        };
      }),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(lane, fc.integer({ min: 0, max: 25 }), fc.boolean())
      .map(([name, through, isSummarized]): Act => {
        return (store, number) =>
          store.compact(name, through, isSummarized ? `summary ${number}` : undefined);
      }),
  },
  lane.map(
    (name): Act =>
      (store) =>
        store.erase(name),
  ),
  fc.tuple(lane, fc.boolean()).map(([name, isSummarized]): Act => {
    return (store, number) =>
      store.importConversation(name, {
        turns: [{ messages: [`adopted ${number}`], at: number }],
        ...(isSummarized && { summary: `adopted summary ${number}` }),
      });
  }),
  fc.constant((store: Store<string>) => store.purge()),
);

async function stateOf(store: Store<string>): Promise<unknown> {
  const state: unknown[] = [await store.conversations()];
  for (const name of ["a", "b"]) {
    const transcript: StoredTurn<string>[] = [];
    for await (const turn of store.transcript(name)) transcript.push(turn);
    state.push(await store.history(name), await store.conversation(name), transcript);
  }
  return state;
}

describe("conversations in memory and in SQLite", () => {
  it("agree after any sequence of turns, cuts, deletions and adoptions", async () => {
    const size = fc.integer({ min: 60, max: 400 });
    const sizes = fc.record({ turnBytes: size, turnBytesPerDay: size });
    const anyActs = fc.array(act, { maxLength: 22 });
    const property = fc.asyncProperty(anyActs, sizes, async (acts, bytes) => {
      await using home = await sqliteHome();
      let time = 1_800_000_000_000;
      const now = (): number => time;
      const bounds = { ...BOUNDS, hiddenTurns: 3, ...bytes };
      const memory = createMemoryStore<string>({ owner: "one", now, bounds });
      const sqlite = await home.open({ now, bounds });
      for (const [number, each] of acts.entries()) {
        // More than an hour, so that purge looks at the turns again; in all less than a day, after
        // which memory forgets.
        time += 3_700_000;
        assert.deepEqual(await each(memory, number), await each(sqlite, number));
      }
      assert.deepEqual(await stateOf(memory), await stateOf(sqlite));
    });
    await fc.assert(property, { numRuns: 60 });
  });
});
