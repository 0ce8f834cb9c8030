import type { MqttClient, Packet } from "mqtt";
import { faultPoint } from "../base/faults.ts";

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
interface Held {
  readonly packet: Packet;
  readonly isRequest: boolean;
  isReady: boolean;
  next: Held | undefined;
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
    const held: Held = { packet, isRequest, isReady: !isRequest, next: undefined };
    if (queue.add(held) > MOST_IN_FLIGHT) giveUp("the broker sent a packet id twice");
    else if (until !== undefined) whenSettled(until, held, flush);
  };
  const flush = createFlush(client, () => {
    const first = queue.first();
    if (first?.isReady !== true) return false;
    queue.remove();
    if (!client.connected) return true;
    send(first.packet);
    if (first.isRequest) faultPoint("acknowledged");
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

function whenSettled(until: Promise<void>, held: Held, flush: () => void): void {
  const ready = (): void => {
    held.isReady = true;
    flush();
  };
  until.then(ready, ready);
}

/** First in, first out, each in constant time. */
function createQueue() {
  let first: Held | undefined;
  let last: Held | undefined;
  let length = 0;
  return {
    first: () => first,
    /** How many there are with this one. */
    add(held: Held): number {
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
