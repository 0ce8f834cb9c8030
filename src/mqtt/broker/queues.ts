import { Readable } from "node:stream";
import type { Client } from "aedes";
import type { DeferredAck } from "./backpressure.ts";
import type { Properties } from "./mqtt5.ts";

export interface QueueLimits {
  /** Messages that wait for one client. */
  readonly queued: number;
  /** Bytes of those that wait for all. */
  readonly queuedBytes: number;
  /** Requests that wait for one gateway, and bytes of those that wait for all: more is held back from the clients. */
  readonly requests: number;
  readonly requestBytes: number;
  /** Messages that one client may leave unacknowledged; what follows waits. */
  readonly inflight: number;
}

export interface QueueOptions {
  readonly limits: QueueLimits;
  /** Is told what was left out. */
  readonly onFull: (what: string) => void;
  /** Whether the message is a request, and the session that of a gateway. */
  readonly isRequest: (id: string, topic: string) => boolean;
  /** Whether so many bytes may be laid ready for the client. */
  readonly hasRoom: (client: Client, bytes: number, ahead: number) => boolean;
  /** How many messages the client may leave unacknowledged. */
  readonly windowOf: (client: Client) => number;
  /** Whether the client is still to have it: it has not expired, and is not too large. */
  readonly isWanted: (client: Client, packet: BrokerPacket) => boolean;
  /** What waits for the message to be acknowledged by those who get it. */
  readonly receiptOf: (payload: unknown) => DeferredAck | undefined;
  /** The session's queue has become shorter. */
  readonly onShorter: (id: string) => void;
}

interface Message {
  packet: BrokerPacket;
  /** The broker's number of when it came: what waits is sent in this order. */
  readonly order: number;
  readonly bytes: number;
  readonly isRequest: boolean;
  readonly receipt?: DeferredAck | undefined;
}

/** What a session's client has not acknowledged yet. */
interface Queue {
  readonly waiting: Map<number, Message>;
  /** Handed to the library to be sent, by the broker's new number. */
  readonly released: Map<number, Message>;
  /** Sent, by packet id; a PUBREL takes the place of its message. */
  readonly inflight: Map<number, Message>;
  /** While it is connected. */
  client?: Client | undefined;
}

/** Beside topic and payload. */
const MESSAGE_BYTES = 400;
/** Requests beyond their bound that are kept all the same: that many may be past the gate when it is reached. */
const OVERSHOOT = 10_000;
const MOST_RELEASED = 64;
const PACKET_IDS = 65_535;

/**
 * The messages of QoS 1 and 2 for sessions that outlive their connections, as the persistence of aedes has
 * them. They are sent through the session's queue alone, in order, and no more than the client takes: what
 * waits is neither sent nor forgotten. What goes beyond the limits is left out and told.
 */
export function createOutgoing(options: QueueOptions) {
  const queues = new Map<string, Queue>();
  const budget = createBudget(options.limits);
  let releasing: Message | undefined;
  const release = (id = ""): void => {
    const queue = queues.get(id);
    if (queue?.client === undefined) return;
    const before = queue.waiting.size;
    for (const [order, message] of queue.waiting) {
      const isWanted = options.isWanted(queue.client, message.packet);
      if (isWanted && !mayRelease(queue, queue.client, message, options)) break;
      queue.waiting.delete(order);
      if (isWanted) {
        releasing = message;
        queue.client.publish(publication(message.packet), ignore);
        releasing = undefined;
      } else budget.drop(id, message);
    }
    if (queue.waiting.size < before) options.onShorter(id);
  };
  const add = (id: string, packet: BrokerPacket, receipt?: DeferredAck): void => {
    const message = messageOf(packet, options.isRequest(id, packet.topic ?? ""), receipt);
    const queue = queueOf(queues, id);
    if (!budget.mayAdd(queue, message)) return options.onFull("messages that wait for a client");
    budget.take(id, message);
    queue.waiting.set(message.order, message);
    release(id);
  };
  return {
    ...createSessions({ queues, budget, release, onShorter: options.onShorter }),
    ...createAcknowledgements({ queues, budget, release }),
    /** The library asks for it while a message is released, and sends that then. */
    async outgoingEnqueue({ clientId }: { clientId: string }, packet: BrokerPacket): Promise<void> {
      if (releasing === undefined) return add(clientId, ownCopyOf(packet));
      // The library leaves out what is numbered lower than what it sent before.
      packet.brokerId = undefined;
      queues.get(clientId)?.released.set(packet.brokerCounter ?? 0, releasing);
    },
    async outgoingEnqueueCombi(
      subscribers: readonly { clientId: string }[],
      packet: BrokerPacket,
    ): Promise<void> {
      const copy = ownCopyOf(packet);
      const receipt = options.receiptOf(packet.payload);
      for (const { clientId } of subscribers) add(clientId, copy, receipt);
      receipt?.ready();
    },
  };
}

interface Parts {
  readonly queues: Map<string, Queue>;
  readonly budget: ReturnType<typeof createBudget>;
  readonly release: (id?: string) => void;
}

/** The coming and going of those whom the queues are for. */
function createSessions(parts: Parts & Pick<QueueOptions, "onShorter">) {
  const { queues, budget, release } = parts;
  return {
    release,
    online: (client: Client): void => {
      queueOf(queues, client.id).client = client;
      release(client.id);
    },
    offline: ({ id }: Owner): void => {
      const queue = queues.get(id);
      if (queue === undefined) return;
      const { waiting, released } = queue;
      queue.client = undefined;
      const unsent = [...released.values(), ...waiting.values()];
      released.clear();
      waiting.clear();
      unsent.sort((one, other) => one.order - other.order);
      for (const message of unsent) waiting.set(message.order, message);
      if (unsent.length + queue.inflight.size === 0) queues.delete(id);
    },
    clear: (id: string): void => {
      const queue = queues.get(id);
      if (queue === undefined) return;
      queues.delete(id);
      for (const message of messagesOf(queue)) budget.drop(id, message);
      parts.onShorter(id);
    },
    /** Whether the gateway's queue takes more requests. */
    takesRequests: (id: string): boolean => budget.takesRequests(queues.get(id)),
    /** Whether it comes out of the queue. */
    isReleased: (id: string, { brokerCounter = 0, messageId }: BrokerPacket): boolean => {
      const queue = queues.get(id);
      return messageId === undefined
        ? queue?.released.has(brokerCounter) === true
        : queue?.inflight.has(messageId) === true;
    },
  };
}

/** What becomes of a message once the library has it. */
function createAcknowledgements({ queues, budget, release }: Parts) {
  return {
    /** Gives a packet its id, or puts the PUBREL in the place of its message. */
    async outgoingUpdate({ id }: Owner, packet: BrokerPacket): Promise<void> {
      const queue = queues.get(id);
      if (packet.brokerCounter === undefined) return takePubrel(queue, id, packet);
      const message = queue?.released.get(packet.brokerCounter);
      if (message === undefined || queue === undefined) return;
      queue.released.delete(packet.brokerCounter);
      if (packet.qos === 0) {
        // Another filter of the client's has it sent so, and nobody acknowledges it.
        budget.drop(id, message, true);
        return release(id);
      }
      packet.messageId = freeId(queue.inflight, packet.messageId ?? 1);
      message.packet = { ...message.packet, messageId: packet.messageId };
      queue.inflight.set(packet.messageId, message);
    },
    async outgoingClearMessageId({ id }: Owner, packet: BrokerPacket) {
      const { messageId, brokerCounter = 0 } = packet;
      const queue = queues.get(id);
      // Without an id it was released and is not sent: it has just expired.
      const list = messageId === undefined ? queue?.released : queue?.inflight;
      const key = messageId ?? brokerCounter;
      const message = list?.get(key);
      if (message === undefined) return undefined;
      list?.delete(key);
      budget.drop(id, message, messageId !== undefined);
      release(id);
      return message.packet;
    },
    /** What was sent and is not acknowledged; what waits follows when the client is online. */
    outgoingStream: ({ id }: Owner) =>
      Readable.from(
        [...(queues.get(id)?.inflight.values() ?? [])].map(({ packet }) => again(packet)),
      ),
  };
}

/** PUBREL takes the place of its message, which is the client's from PUBREC on. */
function takePubrel(queue: Queue | undefined, id: string, pubrel: BrokerPacket): void {
  const message = queue?.inflight.get(pubrel.messageId ?? 0);
  if (message === undefined) return;
  message.packet = { ...pubrel };
  message.receipt?.settled(id, true);
}

function createBudget(limits: QueueLimits) {
  const held = { requests: 0, others: 0 };
  return {
    take(id: string, { isRequest, bytes, receipt }: Message): void {
      held[isRequest ? "requests" : "others"] += bytes;
      receipt?.wait(id);
    },
    drop(id: string, { isRequest, bytes, receipt }: Message, isAcknowledged = false): void {
      held[isRequest ? "requests" : "others"] -= bytes;
      receipt?.settled(id, isAcknowledged);
    },
    mayAdd({ waiting }: Queue, { isRequest, bytes }: Message): boolean {
      if (!isRequest) {
        return waiting.size < limits.queued && held.others + bytes <= limits.queuedBytes;
      }
      const most = limits.requestBytes * 2;
      return waiting.size < limits.requests + OVERSHOOT && held.requests + bytes <= most;
    },
    takesRequests: (queue: Queue | undefined): boolean =>
      (queue?.waiting.size ?? 0) < limits.requests && held.requests < limits.requestBytes,
  };
}

function queueOf(queues: Map<string, Queue>, id: string): Queue {
  const known = queues.get(id);
  if (known) return known;
  const queue = { waiting: new Map(), released: new Map(), inflight: new Map() };
  queues.set(id, queue);
  return queue;
}

function messagesOf({ waiting, released, inflight }: Queue): readonly Message[] {
  return [...waiting.values(), ...released.values(), ...inflight.values()];
}

function mayRelease(
  { released, inflight }: Queue,
  client: Client,
  { bytes }: Message,
  { windowOf, hasRoom }: QueueOptions,
): boolean {
  if (released.size >= MOST_RELEASED || released.size + inflight.size >= windowOf(client))
    return false;
  const ahead = [...released.values()].reduce((sum, one) => sum + one.bytes, 0);
  return hasRoom(client, bytes, ahead);
}

function freeId(taken: ReadonlyMap<number, unknown>, wanted: number): number {
  let id = wanted;
  while (taken.has(id)) id = (id % PACKET_IDS) + 1;
  return id;
}

function messageOf(packet: BrokerPacket, isRequest: boolean, receipt?: DeferredAck): Message {
  const { brokerCounter: order = 0 } = packet;
  const own = isRequest ? receipt : undefined;
  return { packet, order, isRequest, receipt: own, bytes: bytesOf(packet) + MESSAGE_BYTES };
}

function ignore(): void {}

/** Whom the broker keeps something for. */
export interface Owner {
  readonly id: string;
}

/** What the broker library makes of a message, or of a PUBREL. */
export interface BrokerPacket {
  brokerId?: string | undefined;
  readonly brokerCounter?: number;
  messageId?: number | undefined;
  readonly topic?: string;
  readonly payload?: Uint8Array | string;
  readonly qos?: 0 | 1 | 2;
  readonly dup?: boolean;
  readonly properties?: Properties;
  /** When it expires, in milliseconds since 1970. */
  readonly messageExpiry?: number;
}

/**
 * Without the broker's numbers, so that it gets new ones; RETAIN is for those who subscribe later. The
 * sender's DUP stays: a gateway knows by it that a request without a name came before.
 */
function publication({ topic = "", payload = "", qos = 1, dup = false, ...rest }: BrokerPacket) {
  const { brokerId: _id, brokerCounter: _counter, messageId: _message, ...more } = rest;
  const bytes = typeof payload === "string" ? payload : asBuffer(payload);
  return {
    ...more,
    cmd: "publish" as const,
    topic,
    payload: bytes,
    qos,
    dup,
    retain: false,
  };
}

/** MQTT 5 section 3.3.1.1: DUP is for messages; a PUBREL has no topic. */
function again(packet: BrokerPacket): BrokerPacket {
  return packet.topic === undefined ? { ...packet } : { ...packet, dup: true };
}

/** Its payload is a piece of what came through the socket, and would hold all of that. */
export function ownCopyOf(packet: BrokerPacket): BrokerPacket {
  const { payload } = packet;
  if (payload === undefined || typeof payload === "string")
    return { ...packet, messageId: undefined };
  const own = payload.byteLength < payload.buffer.byteLength ? new Uint8Array(payload) : payload;
  return { ...packet, messageId: undefined, payload: own };
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function bytesOf({ topic = "", payload = "" }: BrokerPacket): number {
  return Buffer.byteLength(topic) + payload.length;
}
