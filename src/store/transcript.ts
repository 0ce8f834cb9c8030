import type { StoredTurn } from "./contract.ts";

/** All turns of a conversation, page by page; a page is what follows the turn of that id. */
export async function* createTranscript<M>(
  page: (after: number) => Promise<readonly StoredTurn<M>[]>,
): AsyncGenerator<StoredTurn<M>, void, undefined> {
  for (let after = 0; ;) {
    const turns = await page(after);
    const last = turns.at(-1);
    if (last === undefined) return;
    yield* turns;
    after = last.id;
  }
}
