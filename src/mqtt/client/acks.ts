import { Store, type IPublishPacket, type IStore, type MqttClient, type Packet } from "mqtt";
import { failpoint } from "../../base/failpoint.ts";

/** There are no more packet ids (MQTT 5 section 2.2.1), so no broker may have more messages in flight. */
const MOST_IN_FLIGHT = 65_535;
/** The packets that answer one of the broker's by its id. */
const ANSWERS: ReadonlySet<string> = new Set(["puback", "pubrec", "pubrel", "pubcomp"]);
/** Those that tell the broker that a message is stored. */
const ACKS: ReadonlySet<string> = new Set(["puback", "pubrec"]);

/** An acknowledgement that waits; of the message only the packet id is kept. */
interface PendingAck {
  readonly packet: Packet;
  readonly isRequest: boolean;
  isReady: boolean;
  next: PendingAck | undefined;
}

/**
 * The acknowledgements of one network connection: PUBACK for QoS 1, PUBREC for QoS 2. Defers them while
 * reading goes on. MQTT.js acknowledges where it hands a message over and reads nothing more until it has,
 * not even PINGRESP. So this intercepts the one method through which MQTT.js sends. Acknowledgements leave in
 * the order of receipt (MQTT 5 section 4.6). Those that wait when the connection ends are dropped: the broker
 * delivers their messages again. Calls `giveUp` with the reason why the connection must end: a packet without
 * the id that it must have (MQTT 5 section 2.2.1), which MQTT.js would answer, and throw; or an id that is
 * used again before it is acknowledged. What is ready when `mayAcknowledge` says no is never acknowledged.
 */
export class DeferredAcks {
  readonly #client: MqttClient;
  readonly #giveUp: (why: string) => void;
  readonly #mayAcknowledge: () => boolean;
  readonly #send: Send;
  /** MQTT.js acknowledges a message as soon as it was handed over, before it looks at the next. */
  #due: Promise<void> | "never" | undefined;
  /** A linked list: first in, first out, each in constant time. */
  #first: PendingAck | undefined;
  #last: PendingAck | undefined;
  #length = 0;
  #isWaitingForDrain = false;

  constructor(
    client: MqttClient,
    giveUp: (why: string) => void,
    mayAcknowledge: () => boolean = () => true,
  ) {
    this.#client = client;
    this.#giveUp = giveUp;
    this.#mayAcknowledge = mayAcknowledge;
    this.#send = sendPacketOf(client);
    Reflect.set(client, "_sendPacket", this.#intercept.bind(this));
  }

  /** The next acknowledgement leaves when this settles, and after those of earlier messages. */
  wait(until: Promise<void>): void {
    this.#due = until;
  }

  /** The next acknowledgement is never sent. */
  withhold(): void {
    this.#due = "never";
  }

  #intercept(...[packet, sent, ...rest]: Parameters<Send>): void {
    const isAnswer = ANSWERS.has(packet.cmd);
    if (isAnswer && (packet.messageId ?? 0) < 1) {
      return this.#giveUp("the broker sent a packet without its id");
    }
    if (!ACKS.has(packet.cmd)) return this.#send(packet, sent, ...rest);
    const until = this.#due;
    this.#due = undefined;
    const isWithheld = until === "never" || !this.#mayAcknowledge();
    if (!isWithheld && until === undefined && this.#first === undefined) {
      return this.#send(packet, sent, ...rest);
    }
    if (!isWithheld) this.#add(packet, until);
    sent?.();
  }

  #add(packet: Packet, until: Promise<void> | undefined): void {
    const isRequest = until !== undefined;
    const pending: PendingAck = { packet, isRequest, isReady: !isRequest, next: undefined };
    if (this.#last === undefined) this.#first = pending;
    else this.#last.next = pending;
    this.#last = pending;
    this.#length += 1;
    if (this.#length > MOST_IN_FLIGHT) return this.#giveUp("the broker sent a packet id twice");
    const ready = (): void => {
      pending.isReady = true;
      this.#flush();
    };
    until?.then(ready, ready);
  }

  /**
   * Sends one after the other as long as the connection accepts them: for a broker that sends and does not
   * read, we must not buffer answers without bound.
   */
  #flush(): void {
    const { connected, stream } = this.#client;
    for (let next = this.#first; next?.isReady === true; next = this.#first) {
      if (connected && stream.writableNeedDrain) return this.#flushAfterDrain();
      this.#first = next.next;
      if (this.#first === undefined) this.#last = undefined;
      this.#length -= 1;
      if (!connected || !this.#mayAcknowledge()) continue;
      this.#send(next.packet);
      if (next.isRequest) failpoint("acknowledged");
    }
  }

  #flushAfterDrain(): void {
    if (this.#isWaitingForDrain) return;
    this.#isWaitingForDrain = true;
    this.#client.stream.once("drain", () => {
      this.#isWaitingForDrain = false;
      this.#flush();
    });
  }
}

type Send = (packet: Packet, sent?: () => void, stored?: () => void, noStore?: boolean) => void;

/** The library's method that sends one packet. With `noStore` it bypasses the library's own store. */
export function sendPacketOf(client: MqttClient): Send {
  const found: unknown = Reflect.get(client, "_sendPacket");
  if (!isSend(found)) throw new Error("this version of MQTT.js sends in another way");
  return found.bind(client);
}

function isSend(found: unknown): found is Send {
  return typeof found === "function";
}

/** What a connection does with a QoS 2 PUBLISH. */
interface Receiver {
  /** Hands the message over; resolves when it is stored. */
  handOver(packet: IPublishPacket): Promise<void>;
  /** The next acknowledgement waits for this. */
  wait(until: Promise<void>): void;
  /** Whether the message is left with the broker instead. */
  sheds(): boolean;
}

/**
 * The receiver's side of QoS 2: packet ids of messages that were handed over and that the broker has not
 * released yet (awaiting PUBREL), with the promise that each is stored. It lives as long as the broker's
 * session does (MQTT 5 section 4.1), across connections. It holds no message.
 */
export class InboundQos2 {
  readonly #stored = new Map<number, Promise<void>>();

  /** The broker has begun a new session. */
  clear(): void {
    this.#stored.clear();
  }

  /**
   * The library's store of one connection. A message is handed over at its PUBLISH, before its PUBREC (MQTT 5
   * section 4.3.3, method B), so that none is lost between PUBREC and PUBREL. The same packet id again before
   * PUBREL is the same message.
   */
  storeFor(receiver: Receiver): IStore {
    const stored = this.#stored;
    const empty = new Store();
    const store: IStore = {
      put(packet, done) {
        if (packet.cmd === "publish" && packet.messageId !== undefined && !receiver.sheds()) {
          const former = packet.dup ? stored.get(packet.messageId) : undefined;
          const until = former ?? receiver.handOver(packet);
          stored.set(packet.messageId, until);
          receiver.wait(until);
        }
        done();
        return store;
      },
      get({ messageId = 0 }, found) {
        if (stored.has(messageId)) found(undefined, releasedPacket(messageId));
        else found(new Error("no such message"));
        return store;
      },
      del({ messageId = 0 }, done) {
        stored.delete(messageId);
        done();
        return store;
      },
      createStream: () => empty.createStream(),
      close: (done) => done(),
    };
    return store;
  }
}

/** Stands for a message that the broker releases: MQTT.js asks for it, and we have handed it over already. */
function releasedPacket(messageId: number): IPublishPacket {
  return { cmd: "publish", messageId, topic: "", payload: "", qos: 2, dup: false, retain: false };
}
