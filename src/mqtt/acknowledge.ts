import type { MqttClient, Packet } from "mqtt";
import { faultPoint } from "../base/faults.ts";

/** The acknowledgements of one network connection: PUBACK for QoS 1, PUBREC for QoS 2. */
export interface Acknowledgements {
  /**
   * The acknowledgement of that message leaves when this resolves, and not before those of earlier ones.
   * `bytes` are those of its payload, which somebody holds until then.
   */
  wait(messageId: number, until: Promise<void>, bytes: number): void;
}

/**
 * Messages whose acknowledgement waits: mosquitto 2.0.11 was seen to send 2,548 at once against a Receive
 * Maximum of 64, and must not be cut off for it.
 */
const HELD = 4096;
/** More than this many of them must not have more than so many bytes together. */
const FEW = 64;
const HELD_BYTES = 16_777_216;

/**
 * Lets acknowledgements wait while reading goes on. MQTT.js acknowledges where it hands a message over and
 * reads nothing more until it has, PINGRESP too; so what it sends is held back here, at the one method
 * through which it sends. They leave in the order of receipt (MQTT 5 section 4.6). What is held when the
 * connection ends is forgotten: the broker delivers those messages again. `giveUp` is called with why the
 * connection must end: too many are held, or a packet came without the id that it must have (MQTT 5
 * section 2.2.1), which MQTT.js would answer all the same, and throw.
 */
export function holdAcknowledgements(
  client: MqttClient,
  giveUp: (why: string) => void,
): Acknowledgements {
  const due = new Map<number, { readonly until: Promise<void>; readonly bytes: number }>();
  const held: Held[] = [];
  const isTooMuch = createBound();
  const send = takeSending(client, (packet, sent) => {
    const id = packet.messageId ?? 0;
    if (id < 1) {
      giveUp("the broker sent a packet without its id");
      return true;
    }
    if (!WAITING.has(packet.cmd)) return false;
    const { until, bytes = 0 } = due.get(id) ?? {};
    due.delete(id);
    if (until === undefined && held.length === 0) return false;
    const isRequest = until !== undefined;
    const one: Held = { packet, bytes, isReady: !isRequest, isRequest };
    held.push(one);
    const ready = (): void => {
      one.isReady = true;
      flush();
    };
    until?.then(ready, ready);
    if (isTooMuch(held.length, bytes)) {
      giveUp("too many requests wait to be stored: the broker is to hold them");
    }
    sent();
    return true;
  });
  const flush = createFlush(client, () => {
    if (held[0]?.isReady !== true) return false;
    const one = held.shift();
    isTooMuch(held.length, -(one?.bytes ?? 0));
    if (one === undefined || !client.connected) return true;
    send(one.packet);
    if (one.isRequest) faultPoint("acknowledged");
    return true;
  });
  return { wait: (messageId, until, bytes) => void due.set(messageId, { until, bytes }) };
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

/** Says once that what is held is too much; is told of each change. */
function createBound(): (count: number, change: number) => boolean {
  let bytes = 0;
  let isOver = false;
  return (count, change) => {
    bytes += change;
    const wasOver = isOver;
    isOver ||= count > HELD || (count > FEW && bytes > HELD_BYTES);
    return isOver && !wasOver;
  };
}

interface Held {
  readonly packet: Packet;
  readonly isRequest: boolean;
  readonly bytes: number;
  isReady: boolean;
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
