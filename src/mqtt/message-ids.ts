import type { IClientOptions } from "mqtt";

export type MessageIdProvider = NonNullable<IClientOptions["messageIdProvider"]>;

const MAX_ID = 65_535;

/**
 * Packet ids for what the library sends, from the top, where no publish takes its own: an acknowledgement
 * that comes late or twice is then never one of something else. None of the library's outlives its
 * connection: a SUBSCRIBE is not sent again.
 */
export function createMessageIds(): MessageIdProvider {
  const taken = new Set<number>();
  let last = 0;
  return {
    allocate() {
      for (last = MAX_ID; taken.has(last); last -= 1);
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
