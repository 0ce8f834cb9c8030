import type { MqttClient, Packet, IPublishPacket, IStore } from "mqtt";
import { Store } from "mqtt";
import { failpoint } from "../../base/failpoint.ts";

/** The acknowledgements of one network connection: PUBACK for QoS 1, PUBREC for QoS 2. */
export interface Acknowledgements {
  /** The next acknowledgement leaves when this resolves, and not before those of earlier messages. */
  wait(until: Promise<void>): void;
  /** The next acknowledgement never leaves. */
  withhold(): void;
}

/** There are no more packet ids (MQTT 5 section 2.2.1), so no broker may have more messages in flight. */
const MOST_IN_FLIGHT = 65_535;

/** An acknowledgement that waits; of the message nothing is held but its packet id. */
interface PendingAck {
  readonly packet: Packet;
  readonly isRequest: boolean;
  isReady: boolean;
  next: PendingAck | undefined;
}

/**
 * Lets acknowledgements wait while reading goes on. MQTT.js acknowledges where it hands a message over and
 * reads nothing more until it has, PINGRESP too; so what it sends is held back here, at the one method
 * through which it sends. They leave in the order of receipt (MQTT 5 section 4.6). What is held when the
 * connection ends is forgotten: the broker delivers those messages again. `giveUp` is called with why the
 * connection must end: a packet came without the id that it must have (MQTT 5 section 2.2.1), which MQTT.js
 * would answer all the same, and throw; or an id was used again before it was acknowledged.
 */
export function deferAcks(client: MqttClient, giveUp: (why: string) => void): Acknowledgements {
  const queue = createQueue();
  // MQTT.js acknowledges a message as soon as it was handed over, before it looks at the next.
  let due: Promise<void> | "never" | undefined;
  const send = takeSending(client, (packet, sent) => {
    if ((packet.messageId ?? 0) < 1) {
      giveUp("the broker sent a packet without its id");
      return true;
    }
    if (!WAITING.has(packet.cmd)) return false;
    const until = due;
    due = undefined;
    if (until === undefined && queue.first() === undefined) return false;
    if (until !== "never") hold(packet, until);
    sent();
    return true;
  });
  const hold = (packet: Packet, until: Promise<void> | undefined): void => {
    const isRequest = until !== undefined;
    const held: PendingAck = { packet, isRequest, isReady: !isRequest, next: undefined };
    if (queue.add(held) > MOST_IN_FLIGHT) giveUp("the broker sent a packet id twice");
    else if (until !== undefined) whenSettled(until, held, flush);
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

function whenSettled(until: Promise<void>, held: PendingAck, flush: () => void): void {
  const ready = (): void => {
    held.isReady = true;
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
    /** How many there are with this one. */
    add(held: PendingAck): number {
      if (last === undefined) first = held;
      else last.next = held;
      last = held;
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
 * Sends one after the other while there are any and the connection takes them: a broker that sends and does
 * not read must not make us keep what we say in return.
 */
function createFlush(client: MqttClient, sendNext: () => boolean): () => void {
  let waits = false;
  const flush = (): void => {
    while (!client.connected || !client.stream.writableNeedDrain) if (!sendNext()) return;
    if (waits) return;
    waits = true;
    client.stream.once("drain", () => {
      waits = false;
      flush();
    });
  };
  return flush;
}

/** What answers a packet of the broker's by its id; the first two tell it that a message is stored. */
const ANSWERS: ReadonlySet<string> = new Set(["puback", "pubrec", "pubrel", "pubcomp"]);
const WAITING: ReadonlySet<string> = new Set(["puback", "pubrec"]);

type Send = (packet: Packet, sent?: () => void, ...rest: readonly unknown[]) => void;

/** Offers each answer to `take` before it is sent; gives the way to send it after all. */
function takeSending(
  client: MqttClient,
  take: (packet: Packet, sent: () => void) => boolean,
): (packet: Packet) => void {
  const own: unknown = Reflect.get(client, "_sendPacket");
  if (!isSend(own)) throw new Error("this version of MQTT.js sends in another way");
  const send: Send = own.bind(client);
  const instead: Send = (packet, sent, ...rest) => {
    if (ANSWERS.has(packet.cmd) && take(packet, sent ?? (() => {}))) return;
    send(packet, sent, ...rest);
  };
  Reflect.set(client, "_sendPacket", instead);
  return (packet) => send(packet);
}

function isSend(found: unknown): found is Send {
  return typeof found === "function";
}

/**
 * Packet ids of QoS 2 messages that were handed over and not released by the broker yet, and when each is
 * stored. Outlives a network connection as the broker's session does (MQTT 5 section 4.1). It holds no
 * message.
 */
export type InboundQos2 = Map<number, Promise<void>>;

/** What a connection makes of a QoS 2 PUBLISH. */
interface Receiver {
  /** Hands it over; tells when it is stored. */
  handOver(packet: IPublishPacket): Promise<void>;
  /** It is stored when this resolves. */
  wait(until: Promise<void>): void;
  /** Whether it is left with the broker instead. */
  sheds(): boolean;
}

/**
 * The receiver's side of QoS 2: a message is handed over at its PUBLISH, before its PUBREC (MQTT 5 section
 * 4.3.3, method B), so that none is lost between PUBREC and PUBREL; the same packet id again before
 * PUBREL is the same message.
 */
export function createInboundStore(unreleased: InboundQos2, receiver: Receiver): IStore {
  const nothing = new Store();
  const store: IStore = {
    put(packet, done) {
      if (packet.cmd === "publish" && packet.messageId !== undefined && !receiver.sheds()) {
        const known = packet.dup ? unreleased.get(packet.messageId) : undefined;
        const until = known ?? receiver.handOver(packet);
        unreleased.set(packet.messageId, until);
        receiver.wait(until);
      }
      done();
      return store;
    },
    get({ messageId = 0 }, found) {
      if (unreleased.has(messageId)) found(undefined, released(messageId));
      else found(new Error("no such message"));
      return store;
    },
    del({ messageId = 0 }, done) {
      unreleased.delete(messageId);
      done();
      return store;
    },
    createStream: () => nothing.createStream(),
    close: (done) => done(),
  };
  return store;
}

/** What is shown to MQTT.js of a message that it releases: it is with us already. */
function released(messageId: number): IPublishPacket {
  return { cmd: "publish", messageId, topic: "", payload: "", qos: 2, dup: false, retain: false };
}
