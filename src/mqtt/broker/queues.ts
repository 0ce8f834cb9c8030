import { Readable } from "node:stream";
import type { Client } from "aedes";
import type { CopyEnd, DeferredAck } from "./deferred-acks.ts";
import type { Properties } from "./mqtt5.ts";

export interface QueueLimits {
  /** Messages that wait for one client. */
  readonly queued: number;
  /** Bytes of those that wait for all. */
  readonly queuedBytes: number;
  /** Requests that wait for one gateway, and bytes of those that wait for all; beyond it clients must wait. */
  readonly requests: number;
  readonly requestBytes: number;
  /** Messages that one client may leave unacknowledged; further ones wait. */
  readonly inflight: number;
}

export interface QueueOptions {
  readonly limits: QueueLimits;
  /** Called with what was dropped. */
  readonly onFull: (what: string) => void;
  /** Whether the topic is a request's and the session a gateway's. */
  readonly isRequest: (id: string, topic: string) => boolean;
  /** Whether the client may get so many more bytes of output. */
  readonly hasRoom: (client: Client, bytes: number, ahead: number) => boolean;
  /** How many messages the client may leave unacknowledged. */
  readonly windowOf: (client: Client) => number;
  /** Whether the message has not expired and is not too large for the client. */
  readonly isWanted: (client: Client, packet: BrokerPacket) => boolean;
  /** The deferred acknowledgement of the message to its sender. */
  readonly deferredAckOf: (payload: unknown) => DeferredAck | undefined;
  /** Called when the session's queue has become shorter. */
  readonly onShorter: (id: string) => void;
}

interface Message {
  packet: BrokerPacket;
  /** The broker's sequence number; messages are sent in this order. */
  readonly order: number;
  readonly bytes: number;
  readonly isRequest: boolean;
  readonly ack?: DeferredAck | undefined;
}

/** The messages that a session's client has not acknowledged yet. */
interface Queue {
  readonly waiting: Map<number, Message>;
  /** Passed to the library for sending, by the broker's new number. */
  readonly released: Map<number, Message>;
  /** Sent, by packet id; a PUBREL replaces its message. */
  readonly inflight: Map<number, Message>;
  /** While it is connected. */
  client?: Client | undefined;
}

/** Memory of a message without topic and payload. */
const MESSAGE_BYTES = 400;
/** Requests beyond the limit that are accepted: so many may have passed the check when the limit is reached. */
const OVERSHOOT = 10_000;
const MOST_RELEASED = 64;
const PACKET_IDS = 65_535;

/**
 * The messages of QoS 1 and 2 for persistent sessions: the outgoing part of aedes' persistence. They are sent
 * only through the session's queue, in order, and no more than the client accepts; the others wait. Messages
 * over the limits are dropped and reported.
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
      } else budget.drop(id, message, "done");
    }
    if (queue.waiting.size < before) options.onShorter(id);
  };
  const add = (id: string, packet: BrokerPacket, ack?: DeferredAck): void => {
    const message = messageOf(packet, options.isRequest(id, packet.topic ?? ""), ack);
    const queue = queueOf(queues, id);
    // The copies that are sent again must not pile up for a client that acknowledges nothing.
    if (ack?.isStalled(id) === true && hasCopy(queue, packet)) return ack.settled(id, "lost");
    if (!budget.mayAdd(queue, message)) {
      ack?.settled(id, "lost");
      return options.onFull("messages that wait for a client");
    }
    budget.take(id, message);
    queue.waiting.set(message.order, message);
    release(id);
  };
  return {
    ...createSessions({ queues, budget, release, onShorter: options.onShorter }),
    ...createAcknowledgements({ queues, budget, release }),
    /** While a message is released, the library calls this and then sends it. */
    async outgoingEnqueue({ clientId }: { clientId: string }, packet: BrokerPacket): Promise<void> {
      if (releasing === undefined) return add(clientId, ownCopyOf(packet));
      // The library skips messages with a lower number than the last that it sent.
      packet.brokerId = undefined;
      queues.get(clientId)?.released.set(packet.brokerCounter ?? 0, releasing);
    },
    async outgoingEnqueueCombi(
      subscribers: readonly { clientId: string }[],
      packet: BrokerPacket,
    ): Promise<void> {
      const copy = ownCopyOf(packet);
      const ack = options.deferredAckOf(packet.payload);
      for (const { clientId } of subscribers) add(clientId, copy, ack);
      ack?.ready();
    },
  };
}

interface Parts {
  readonly queues: Map<string, Queue>;
  readonly budget: ReturnType<typeof createBudget>;
  readonly release: (id?: string) => void;
}

/** Sessions that connect and disconnect. */
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
      for (const message of messagesOf(queue)) budget.drop(id, message, "lost");
      parts.onShorter(id);
    },
    isConnected: (id: string): boolean => queues.get(id)?.client !== undefined,
    /** Whether the gateway's queue takes more requests. */
    takesRequests: (id: string): boolean => budget.takesRequests(queues.get(id)),
    /** Whether the message comes from the queue. */
    isReleased: (id: string, { brokerCounter = 0, messageId }: BrokerPacket): boolean => {
      const queue = queues.get(id);
      return messageId === undefined
        ? queue?.released.has(brokerCounter) === true
        : queue?.inflight.has(messageId) === true;
    },
  };
}

/** Messages that the library sends and clients acknowledge. */
function createAcknowledgements({ queues, budget, release }: Parts) {
  return {
    /** Gives a packet its id, or replaces a message by its PUBREL. */
    async outgoingUpdate({ id }: Owner, packet: BrokerPacket): Promise<void> {
      const queue = queues.get(id);
      if (packet.brokerCounter === undefined) return takePubrel(queue, id, packet);
      const message = queue?.released.get(packet.brokerCounter);
      if (message === undefined || queue === undefined) return;
      queue.released.delete(packet.brokerCounter);
      if (packet.qos === 0) {
        // Another filter of the client lowers the QoS to 0, and nobody acknowledges it.
        budget.drop(id, message, "acknowledged");
        return release(id);
      }
      packet.messageId = freeId(queue.inflight, packet.messageId ?? 1);
      message.packet = { ...message.packet, messageId: packet.messageId };
      queue.inflight.set(packet.messageId, message);
    },
    async outgoingClearMessageId({ id }: Owner, packet: BrokerPacket) {
      const { messageId, brokerCounter = 0 } = packet;
      const queue = queues.get(id);
      // Without an id it was released but not sent: it has just expired.
      const list = messageId === undefined ? queue?.released : queue?.inflight;
      const key = messageId ?? brokerCounter;
      const message = list?.get(key);
      if (message === undefined) return undefined;
      list?.delete(key);
      budget.drop(id, message, messageId === undefined ? "done" : "acknowledged");
      release(id);
      return message.packet;
    },
    /** Sent and unacknowledged messages; waiting ones follow when the client is online. */
    outgoingStream: ({ id }: Owner) =>
      Readable.from(
        [...(queues.get(id)?.inflight.values() ?? [])].map(({ packet }) => again(packet)),
      ),
  };
}

/** A PUBREL replaces its message, which the client has since its PUBREC. */
function takePubrel(queue: Queue | undefined, id: string, pubrel: BrokerPacket): void {
  const message = queue?.inflight.get(pubrel.messageId ?? 0);
  if (message === undefined) return;
  message.packet = { ...pubrel };
  message.ack?.settled(id, "acknowledged");
}

function createBudget(limits: QueueLimits) {
  const held = { requests: 0, others: 0 };
  return {
    take(id: string, { isRequest, bytes, ack }: Message): void {
      held[isRequest ? "requests" : "others"] += bytes;
      ack?.wait(id, isRequest);
    },
    drop(id: string, { isRequest, bytes, ack }: Message, end: CopyEnd): void {
      held[isRequest ? "requests" : "others"] -= bytes;
      ack?.settled(id, end);
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

function hasCopy(queue: Queue, { topic, payload = "", properties }: BrokerPacket): boolean {
  return messagesOf(queue).some(
    ({ packet }) =>
      packet.topic === topic &&
      isSame(packet.payload ?? "", payload) &&
      isSame(packet.properties?.["correlationData"], properties?.["correlationData"]),
  );
}

function isSame(one: unknown, other: unknown): boolean {
  const areBytes = one instanceof Uint8Array && other instanceof Uint8Array;
  return areBytes ? asBuffer(one).equals(other) : one === other;
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

function freeId(used: ReadonlyMap<number, unknown>, wanted: number): number {
  let id = wanted;
  while (used.has(id)) id = (id % PACKET_IDS) + 1;
  return id;
}

function messageOf(packet: BrokerPacket, isRequest: boolean, ack?: DeferredAck): Message {
  const { brokerCounter: order = 0 } = packet;
  return { packet, order, isRequest, ack, bytes: bytesOf(packet) + MESSAGE_BYTES };
}

function ignore(): void {}

/** A session, by its client id. */
export interface Owner {
  readonly id: string;
}

/** A message or a PUBREL, as the broker library has it. */
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
 * The message without the broker's numbers, so that it gets new ones, and without RETAIN, which is for later
 * subscribers. The sender's DUP stays: it tells a gateway that a request without an id came before.
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

/** The packet to send again: a message gets DUP (MQTT 5 section 3.3.1.1); a PUBREL has no topic. */
function again(packet: BrokerPacket): BrokerPacket {
  return packet.topic === undefined ? { ...packet } : { ...packet, dup: true };
}

/** A copy with its own payload: the original is part of a larger buffer, which would stay in memory. */
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
