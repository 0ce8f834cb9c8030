import { Store, type IPublishPacket, type IStore } from "mqtt";

/**
 * Packet ids of QoS 2 messages that were handed over and not released by the broker yet, and when each is
 * stored. Outlives a network connection as the broker's session does (MQTT 5 section 4.1). It holds no
 * message.
 */
export type Unreleased = Map<number, Promise<void>>;

/** What a connection makes of a QoS 2 PUBLISH. */
export interface Receiver {
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
export function createIncomingStore(unreleased: Unreleased, receiver: Receiver): IStore {
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
