import { Readable } from "node:stream";

/** Whom the broker keeps something for. */
export interface Owner {
  readonly id: string;
}

/** What the broker library makes of a message, or of a PUBREL. */
export interface BrokerPacket {
  readonly brokerId?: string;
  readonly brokerCounter?: number;
  messageId?: number | undefined;
  readonly topic?: string;
  readonly payload?: Uint8Array | string;
}

export interface QueueLimits {
  /** Messages that wait for one client. */
  readonly queued: number;
  /** Bytes of those that wait for all. */
  readonly queuedBytes: number;
}

/** Ids of QoS 2 messages, by client, that are remembered until they are released. */
const MOST_UNRELEASED = 1_000;

/**
 * What a client that left a session behind has not acknowledged yet, as the persistence of aedes has it.
 * What goes beyond the limits is left out and told.
 */
export function createOutgoing(limits: QueueLimits, onFull: (what: string) => void) {
  const queues = createQueues(limits, onFull);
  return {
    clear: queues.clear,
    async outgoingEnqueue({ clientId }: { clientId: string }, packet: BrokerPacket): Promise<void> {
      queues.add(clientId, ownCopyOf(packet));
    },
    async outgoingEnqueueCombi(
      subscribers: readonly { clientId: string }[],
      packet: BrokerPacket,
    ): Promise<void> {
      const copy = ownCopyOf(packet);
      for (const { clientId } of subscribers) queues.add(clientId, { ...copy });
    },
    /** Also of a message that was left out: it is sent once all the same. */
    async outgoingUpdate({ id }: Owner, packet: BrokerPacket): Promise<void> {
      const at = queues.of(id).findIndex((one) => isSame(one, packet));
      const found = queues.of(id)[at];
      if (found === undefined) return;
      if (found.brokerId === packet.brokerId) found.messageId = packet.messageId;
      else queues.change(id, at, [packet]);
    },
    outgoingClearMessageId: async ({ id }: Owner, { messageId }: BrokerPacket) =>
      queues.change(
        id,
        queues.of(id).findIndex((one) => one.messageId === messageId),
        [],
      ),
    outgoingStream: ({ id }: Owner) => Readable.from([...queues.of(id)]),
  };
}

function createQueues(limits: QueueLimits, onFull: (what: string) => void) {
  const queues = new Map<string, BrokerPacket[]>();
  let held = 0;
  const of = (id: string): readonly BrokerPacket[] => queues.get(id) ?? [];
  return {
    of,
    add: (id: string, packet: BrokerPacket): void => {
      const bytes = bytesOf(packet);
      if (of(id).length >= limits.queued || held + bytes > limits.queuedBytes) {
        return onFull("messages that wait for a client");
      }
      held += bytes;
      queues
        .set(id, queues.get(id) ?? [])
        .get(id)
        ?.push(packet);
    },
    /** Puts others in the place of the one there, and gives it; nothing at -1. */
    change: (id: string, at: number, others: readonly BrokerPacket[]): BrokerPacket | undefined => {
      const queue = queues.get(id);
      if (queue === undefined || at < 0) return undefined;
      const [found] = queue.splice(at, 1, ...others);
      held -= found === undefined ? 0 : bytesOf(found);
      for (const other of others) held += bytesOf(other);
      if (queue.length === 0) queues.delete(id);
      return found;
    },
    clear: (id: string): void => {
      for (const packet of of(id)) held -= bytesOf(packet);
      queues.delete(id);
    },
  };
}

/** A PUBREL, which has no number of the broker's, takes the place of its message. */
function isSame(one: BrokerPacket, packet: BrokerPacket): boolean {
  return one.brokerId === packet.brokerId
    ? one.brokerCounter === packet.brokerCounter
    : one.messageId === packet.messageId;
}

/** Its payload is a piece of what came through the socket, and would hold all of that. */
export function ownCopyOf(packet: BrokerPacket): BrokerPacket {
  const { payload } = packet;
  if (payload === undefined || typeof payload === "string")
    return { ...packet, messageId: undefined };
  return { ...packet, messageId: undefined, payload: Buffer.from(payload) };
}

export function bytesOf({ topic = "", payload = "" }: BrokerPacket): number {
  return Buffer.byteLength(topic) + payload.length;
}

/** Which messages of QoS 2 have come and are not released yet: their ids are all that the library asks for. */
export function createIncoming() {
  const unreleased = new Map<string, Set<number>>();
  const find = ({ id }: Owner, { messageId = 0 }: BrokerPacket): Set<number> => {
    const ids = unreleased.get(id);
    if (ids?.has(messageId) !== true) throw new Error("no such packet");
    return ids;
  };
  return {
    async incomingStorePacket({ id }: Owner, { messageId = 0 }: BrokerPacket): Promise<void> {
      const ids = unreleased.get(id) ?? new Set();
      unreleased.set(id, ids.add(messageId));
      const [oldest] = ids;
      if (ids.size > MOST_UNRELEASED && oldest !== undefined) ids.delete(oldest);
    },
    async incomingGetPacket(client: Owner, packet: BrokerPacket): Promise<BrokerPacket> {
      find(client, packet);
      return packet;
    },
    async incomingDelPacket(client: Owner, packet: BrokerPacket): Promise<void> {
      const ids = find(client, packet);
      ids.delete(packet.messageId ?? 0);
      if (ids.size === 0) unreleased.delete(client.id);
    },
    async cleanIncoming({ id }: Owner): Promise<void> {
      unreleased.delete(id);
    },
  };
}
