import type { MqttClient, Packet } from "mqtt";
import { faultPoint } from "../base/faults.ts";

/** The acknowledgements of one network connection: PUBACK for QoS 1, PUBREC for QoS 2. */
export interface Acknowledgements {
  /** The acknowledgement of that message leaves when this resolves, and not before those of earlier ones. */
  wait(messageId: number, until: Promise<void>): void;
}

/** Messages whose acknowledgement waits: some brokers send far more than the Receive Maximum they were told. */
const HELD = 8192;

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
  const due = new Map<number, Promise<void>>();
  const held: Held[] = [];
  const send = takeSending(client, (packet, sent) => {
    const id = packet.messageId ?? 0;
    if (id < 1) {
      giveUp("the broker sent a packet without its id");
      return true;
    }
    if (!WAITING.has(packet.cmd)) return false;
    const until = due.get(id);
    due.delete(id);
    if (until === undefined && held.length === 0) return false;
    const one: Held = { packet, isReady: until === undefined, isRequest: until !== undefined };
    held.push(one);
    const ready = (): void => {
      one.isReady = true;
      flush();
    };
    until?.then(ready, ready);
    if (held.length > HELD) {
      giveUp("too many requests wait to be stored: the broker is to hold them");
    }
    sent();
    return true;
  });
  const flush = (): void => {
    while (held[0]?.isReady === true) {
      const one = held.shift();
      if (one === undefined || !client.connected) continue;
      send(one.packet);
      if (one.isRequest) faultPoint("acknowledged");
    }
  };
  return { wait: (messageId, until) => void due.set(messageId, until) };
}

interface Held {
  readonly packet: Packet;
  readonly isRequest: boolean;
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
