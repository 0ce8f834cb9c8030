import type { Row } from "./connection/session.ts";

/** Keys of one statement. */
const AT_ONCE = 64;

/**
 * Reads that are asked for in one turn of the event loop as one statement: many turns begin at once when a transaction
 * began them, or when lanes were claimed. Each gets the rows whose column is its key,
 * and a key that is asked for twice is read once.
 */
export function joinedReads<K extends string | number>(
  column: string,
  read: (keys: readonly K[]) => Promise<readonly Row[]>,
): (key: K) => Promise<readonly Row[]> {
  type Batch = {
    readonly keys: Set<K>;
    readonly rows: Promise<ReadonlyMap<string, readonly Row[]>>;
  };
  let next: Batch | undefined;
  const begin = (): Batch => {
    const keys = new Set<K>();
    const readAll = async (): Promise<ReadonlyMap<string, readonly Row[]>> => {
      await new Promise((resolve) => void setImmediate(resolve));
      if (next?.keys === keys) next = undefined;
      return Map.groupBy(await read([...keys]), (row) => String(row[column]));
    };
    return { keys, rows: readAll() };
  };
  return async (key) => {
    if (next === undefined || next.keys.size >= AT_ONCE) next = begin();
    const { keys, rows } = next;
    keys.add(key);
    return (await rows).get(String(key)) ?? [];
  };
}
