import { Store, type IPublishPacket, type IStore, type MqttClient, type Packet } from "mqtt";
import { failpoint } from "../../base/failpoint.ts";

/** The acknowledgements of one network connection: PUBACK for QoS 1, PUBREC for QoS 2. */
export interface Acknowledgements {
  /** The next acknowledgement leaves when this settles, and after those of earlier messages. */
  wait(until: Promise<void>): void;
  /** The next acknowledgement is never sent. */
  withhold(): void;
}

/** There are no more packet ids (MQTT 5 section 2.2.1), so no broker may have more messages in flight. */
const MOST_IN_FLIGHT = 65_535;

/** An acknowledgement that waits; of the message only the packet id is kept. */
interface PendingAck {
  readonly packet: Packet;
  readonly isRequest: boolean;
  isReady: boolean;
  next: PendingAck | undefined;
}

/**
 * Defers acknowledgements while reading goes on. MQTT.js acknowledges where it hands a message over and
 * reads nothing more until it has, not even PINGRESP. So this intercepts the one method through which
 * MQTT.js sends. Acknowledgements leave in the order of receipt (MQTT 5 section 4.6). Those that wait when
 * the connection ends are dropped: the broker delivers their messages again. Calls `giveUp` with the reason
 * why the connection must end: a packet without the id that it must have (MQTT 5 section 2.2.1), which
 * MQTT.js would answer, and throw; or an id that is used again before it is acknowledged.
 */
export function deferAcks(client: MqttClient, giveUp: (why: string) => void): Acknowledgements {
  const queue = createQueue();
  // MQTT.js acknowledges a message as soon as it was handed over, before it looks at the next.
  let due: Promise<void> | "never" | undefined;
  const send = interceptAnswers(client, (packet, sent) => {
    if ((packet.messageId ?? 0) < 1) {
      giveUp("the broker sent a packet without its id");
      return true;
    }
    if (!ACKS.has(packet.cmd)) return false;
    const until = due;
    due = undefined;
    if (until === undefined && queue.first() === undefined) return false;
    if (until !== "never") enqueue(packet, until);
    sent();
    return true;
  });
  const enqueue = (packet: Packet, until: Promise<void> | undefined): void => {
    const isRequest = until !== undefined;
    const pending: PendingAck = { packet, isRequest, isReady: !isRequest, next: undefined };
    if (queue.add(pending) > MOST_IN_FLIGHT) giveUp("the broker sent a packet id twice");
    else if (until !== undefined) whenSettled(until, pending, flush);
  };
  const flush = createFlush(client, () => {
    const first = queue.first();
    if (first?.isReady !== true) return false;
    queue.remove();
    if (!client.connected) return true;
    send(first.packet);
    if (first.isRequest) failpoint("acknowledged");
    return true;
  });
  return {
    wait(until) {
      due = until;
    },
    withhold() {
      due = "never";
    },
  };
}

function whenSettled(until: Promise<void>, pending: PendingAck, flush: () => void): void {
  const ready = (): void => {
    pending.isReady = true;
    flush();
  };
  until.then(ready, ready);
}

/** First in, first out, each in constant time. */
function createQueue() {
  let first: PendingAck | undefined;
  let last: PendingAck | undefined;
  let length = 0;
  return {
    first: () => first,
    /** Returns the new length. */
    add(pending: PendingAck): number {
      if (last === undefined) first = pending;
      else last.next = pending;
      last = pending;
      return (length += 1);
    },
    remove(): void {
      first = first?.next;
      if (first === undefined) last = undefined;
      length -= 1;
    },
  };
}

/**
 * Sends one after the other as long as the connection accepts them: for a broker that sends and does not
 * read, we must not buffer answers without bound.
 */
function createFlush(client: MqttClient, sendNext: () => boolean): () => void {
  let isWaiting = false;
  const flush = (): void => {
    while (!client.connected || !client.stream.writableNeedDrain) if (!sendNext()) return;
    if (isWaiting) return;
    isWaiting = true;
    client.stream.once("drain", () => {
      isWaiting = false;
      flush();
    });
  };
  return flush;
}

/** The packets that answer one of the broker's by its id. */
const ANSWERS: ReadonlySet<string> = new Set(["puback", "pubrec", "pubrel", "pubcomp"]);
/** Those that tell the broker that a message is stored. */
const ACKS: ReadonlySet<string> = new Set(["puback", "pubrec"]);

type Send = (packet: Packet, sent?: () => void, stored?: () => void, noStore?: boolean) => void;

/** Offers each answer to `take` before it is sent; returns the original way to send. */
function interceptAnswers(
  client: MqttClient,
  take: (packet: Packet, sent: () => void) => boolean,
): Send {
  const send = sendPacketOf(client);
  const intercepted: Send = (packet, sent, ...rest) => {
    if (ANSWERS.has(packet.cmd) && take(packet, sent ?? (() => {}))) return;
    send(packet, sent, ...rest);
  };
  Reflect.set(client, "_sendPacket", intercepted);
  return send;
}

/** The library's method that sends one packet. With `noStore` it bypasses the library's own store. */
export function sendPacketOf(client: MqttClient): Send {
  const found: unknown = Reflect.get(client, "_sendPacket");
  if (!isSend(found)) throw new Error("this version of MQTT.js sends in another way");
  return found.bind(client);
}

function isSend(found: unknown): found is Send {
  return typeof found === "function";
}

/**
 * Packet ids of QoS 2 messages that were handed over and that the broker has not released yet (awaiting
 * PUBREL), with the promise that each is stored. It lives as long as the broker's session does (MQTT 5
 * section 4.1), across connections. It holds no message.
 */
export type InboundQos2 = Map<number, Promise<void>>;

/** What a connection does with a QoS 2 PUBLISH. */
export interface Receiver {
  /** Hands the message over; resolves when it is stored. */
  handOver(packet: IPublishPacket): Promise<void>;
  /** The next acknowledgement waits for this. */
  wait(until: Promise<void>): void;
  /** Whether the message is left with the broker instead. */
  sheds(): boolean;
}

/**
 * The receiver's side of QoS 2. A message is handed over at its PUBLISH, before its PUBREC (MQTT 5 section
 * 4.3.3, method B), so that none is lost between PUBREC and PUBREL. The same packet id again before PUBREL
 * is the same message.
 */
export function createInboundStore(inboundQos2: InboundQos2, receiver: Receiver): IStore {
  const empty = new Store();
  const store: IStore = {
    put(packet, done) {
      if (packet.cmd === "publish" && packet.messageId !== undefined && !receiver.sheds()) {
        const former = packet.dup ? inboundQos2.get(packet.messageId) : undefined;
        const until = former ?? receiver.handOver(packet);
        inboundQos2.set(packet.messageId, until);
        receiver.wait(until);
      }
      done();
      return store;
    },
    get({ messageId = 0 }, found) {
      if (inboundQos2.has(messageId)) found(undefined, releasedPacket(messageId));
      else found(new Error("no such message"));
      return store;
    },
    del({ messageId = 0 }, done) {
      inboundQos2.delete(messageId);
      done();
      return store;
    },
    createStream: () => empty.createStream(),
    close: (done) => done(),
  };
  return store;
}

/** Stands for a message that the broker releases: MQTT.js asks for it, and we have handed it over already. */
function releasedPacket(messageId: number): IPublishPacket {
  return { cmd: "publish", messageId, topic: "", payload: "", qos: 2, dup: false, retain: false };
}
