import type { IClientOptions } from "mqtt";

export type MessageIdProvider = NonNullable<IClientOptions["messageIdProvider"]>;

const MAX_ID = 65_535;

/** Throws where all are taken. */
export function lowestFreeId(isTaken: (id: number) => boolean): number {
  for (let id = 1; id <= MAX_ID; id += 1) if (!isTaken(id)) return id;
  throw new Error("all packet ids are in use");
}

/**
 * Packet ids for what the library sends, beside those that a publish holds. Of the library's ids none outlives its connection: a SUBSCRIBE is not sent again.
 */
export function createMessageIds(isInFlight: (id: number) => boolean): MessageIdProvider {
  const taken = new Set<number>();
  let last = 0;
  return {
    allocate() {
      last = lowestFreeId((id) => taken.has(id) || isInFlight(id));
      taken.add(last);
      return last;
    },
    getLastAllocated: () => last,
    register: (id) => !taken.has(id),
    deallocate: (id) => void taken.delete(id),
    // The library calls it at each CONNACK.
    clear: () => taken.clear(),
  };
}
