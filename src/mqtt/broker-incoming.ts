import type { BrokerPacket, Owner } from "./broker-packets.ts";

const PACKET_IDS = 65_536;

/**
 * Which messages of QoS 2 have come and are not released yet, as the persistence of aedes has them. The
 * message itself goes on when it comes; its id is all that is asked for later.
 */
export function createIncoming() {
  const sessions = new Map<string, Unreleased>();
  const find = ({ id }: Owner, { messageId = 0 }: BrokerPacket): Unreleased => {
    const ids = sessions.get(id);
    if (ids === undefined || !hasBit(ids, messageId)) throw new Error("no such packet");
    return ids;
  };
  return {
    async incomingStorePacket({ id }: Owner, { messageId = 0 }: BrokerPacket): Promise<void> {
      const ids = sessions.get(id) ?? { bits: new Uint8Array(PACKET_IDS / 8), count: 0 };
      sessions.set(id, ids);
      if (hasBit(ids, messageId)) return;
      flip(ids, messageId);
      ids.count += 1;
    },
    async incomingGetPacket(client: Owner, packet: BrokerPacket): Promise<BrokerPacket> {
      find(client, packet);
      return packet;
    },
    async incomingDelPacket(client: Owner, packet: BrokerPacket): Promise<void> {
      const ids = find(client, packet);
      flip(ids, packet.messageId ?? 0);
      ids.count -= 1;
      if (ids.count === 0) sessions.delete(client.id);
    },
    async cleanIncoming({ id }: Owner): Promise<void> {
      sessions.delete(id);
    },
  };
}

/** A bit for each packet id: all of them are 8 KiB. */
interface Unreleased {
  readonly bits: Uint8Array;
  count: number;
}

function hasBit({ bits }: Unreleased, id: number): boolean {
  return ((bits[id >> 3] ?? 0) & (1 << (id & 7))) !== 0;
}

function flip({ bits }: Unreleased, id: number): void {
  bits[id >> 3] = (bits[id >> 3] ?? 0) ^ (1 << (id & 7));
}
