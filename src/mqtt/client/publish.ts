import type { Packet, IClientOptions } from "mqtt";
import { asFailure, Failure } from "../../base/failure.ts";
import { ConnectionLost, type Outgoing, type Published } from "../protocol/message.ts";
import { isLossCode, refusalOf } from "./reasons.ts";

/** One network connection from its CONNACK on, as publishing needs it. */
export interface PublisherLink {
  readonly protocol: 4 | 5;
  /** The broker kept our session: it still knows the packet ids of the last connection. */
  readonly resumed: boolean;
  /** How many publishes of QoS 1 and 2 the broker takes unacknowledged. */
  readonly receiveMaximum: number;
  /** Writes one packet, at once; `written` is called when the connection takes more. */
  write(packet: Packet, written?: () => void): void;
  /** Aborts the connection if the returned function is not called in time; `what` is what was missing. */
  expect(what: string): () => void;
  abort(reason: string): void;
}

export interface AttachedLink {
  /** A packet came: acknowledgements of publishes are taken from here, all else is ignored. */
  readonly take: (packet: Packet) => void;
  /** Our subscriptions stand: on a session that the broker did not keep nothing else is sent before. */
  readonly open: () => void;
  /** The connection is over; what is unacknowledged waits for the next one. */
  readonly detach: () => void;
}

/**
 * The sender's side of QoS 1 and 2 (MQTT 5 sections 4.3 and 4.4). It outlives network connections: what was
 * not acknowledged on one is sent again on the next, before anything new and in the same order, under its
 * own packet id with DUP where the broker kept the session, as PUBREL where PUBREC had come, and as a new
 * message where the broker did not keep it.
 */
export interface Publisher {
  /** Packet ids for the library's SUBSCRIBE packets: none that a publish holds. */
  readonly messageIds: MessageIdProvider;
  /**
   * Resolves when delivered as far as the QoS tells: at PUBACK, PUBCOMP, or for QoS 0 when written. Rejects
   * with a `Failure` when the broker refused the message or `end` was called, and with the signal's reason;
   * a message that was sent by then keeps its packet id until it is acknowledged. `isEarly` does not wait for
   * our subscriptions.
   */
  publish(message: Outgoing, signal?: AbortSignal, isEarly?: boolean): Promise<Published>;
  /** Sends on this connection from now on. */
  attach(link: PublisherLink): AttachedLink;
  /** Resolves when all that can be sent is sent and acknowledged. */
  idle(): Promise<void>;
  /** Rejects all that waits and all that is published later. */
  end(failure: Failure): void;
}

/** Our own bound on unacknowledged publishes, and so the highest packet id; the broker's Receive Maximum lowers it. */
const IN_FLIGHT = 20;
const NO_MATCHING_SUBSCRIBERS = 0x10;

interface Publication {
  readonly message: Outgoing;
  readonly isEarly: boolean;
  /** Undefined once nobody waits for it any more. */
  waiter: PromiseWithResolvers<Published> | undefined;
  /** 0 until it is sent for the first time, and for QoS 0. */
  id: number;
  /** What is to be acknowledged next. */
  state: "publish" | "pubrel";
  wasSent: boolean;
  noMatchingSubscribers: boolean;
  stopDeadline: () => void;
}

/** `releases` completes, once, what a former process may have left unreleased (QoS 2) in a resumed session. */
export function createPublisher(releases: boolean): Publisher {
  return new OutgoingMessages(releases);
}

class OutgoingMessages implements Publisher {
  readonly messageIds = createMessageIds();
  /** QoS 1 and 2 from the first PUBLISH to the last acknowledgement, by packet id, in the order of sending. */
  readonly #inFlight = new Map<number, Publication>();
  /** Those in flight that were not sent on this connection yet. */
  readonly #unsent = new Set<Publication>();
  /** Sent on this connection and not settled. */
  readonly #open = new Set<Publication>();
  #waiting = new Set<Publication>();
  #link: PublisherLink | undefined;
  #isOpen = false;
  #failure: Failure | undefined;
  #releases: boolean;
  #isPumping = false;
  #onIdle: (() => void)[] = [];

  constructor(releases: boolean) {
    this.#releases = releases;
  }

  publish(message: Outgoing, signal?: AbortSignal, isEarly = false): Promise<Published> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (signal?.aborted) return Promise.reject(reasonOf(signal));
    const waiter = Promise.withResolvers<Published>();
    const publication: Publication = {
      message,
      isEarly,
      waiter,
      id: 0,
      state: "publish",
      wasSent: false,
      noMatchingSubscribers: false,
      stopDeadline: () => {},
    };
    const abandon = (): void => {
      publication.waiter = undefined;
      this.#waiting.delete(publication);
      if (signal) waiter.reject(reasonOf(signal));
    };
    signal?.addEventListener("abort", abandon, { once: true });
    this.#waiting.add(publication);
    this.#pump();
    return waiter.promise.finally(() => signal?.removeEventListener("abort", abandon));
  }

  attach(link: PublisherLink): AttachedLink {
    this.#detach();
    this.#link = link;
    this.#isOpen = link.resumed;
    if (!link.resumed) this.#forgetSession();
    for (const publication of this.#inFlight.values()) this.#unsent.add(publication);
    if (this.#releases && link.resumed) {
      for (let id = 1; id <= IN_FLIGHT; id += 1) link.write(pubrel(id));
    }
    this.#releases = false;
    this.#pump();
    return {
      take: (packet) => {
        if (this.#link === link) this.#take(packet, link);
      },
      open: () => {
        if (this.#link !== link) return;
        this.#isOpen = true;
        this.#pump();
      },
      detach: () => {
        if (this.#link === link) this.#detach();
      },
    };
  }

  idle(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onIdle.push(resolve);
    this.#tellIdle();
    return promise;
  }

  end(failure: Failure): void {
    this.#failure = failure;
    const all = [...this.#inFlight.values(), ...this.#open, ...this.#waiting];
    this.#detach();
    this.#inFlight.clear();
    this.#waiting.clear();
    for (const { waiter } of all) waiter?.reject(failure);
    this.#tellIdle();
  }

  /** The broker knows none of our packet ids: all that was not acknowledged to the end is a new message. */
  #forgetSession(): void {
    for (const publication of this.#inFlight.values()) {
      publication.state = "publish";
      publication.wasSent = false;
      publication.noMatchingSubscribers = false;
      if (publication.waiter === undefined) this.#inFlight.delete(publication.id);
    }
  }

  #detach(): void {
    this.#link = undefined;
    const again = [...this.#open].filter(({ message, waiter }) => message.qos === 0 && waiter);
    for (const { stopDeadline } of this.#open) stopDeadline();
    this.#open.clear();
    this.#unsent.clear();
    if (again.length > 0) this.#waiting = new Set([...again, ...this.#waiting]);
  }

  /** Sends all that may be sent now; what is settled meanwhile does not begin it anew. */
  #pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    for (let link = this.#link; link !== undefined; link = this.#link) {
      const next = this.#next(link);
      if (next === undefined) break;
      this.#send(next, link);
    }
    this.#isPumping = false;
    this.#tellIdle();
  }

  /** PUBREL is not held up by the broker's Receive Maximum (MQTT 5 section 4.9). */
  #next({ receiveMaximum }: PublisherLink): Publication | undefined {
    const [unsent] = this.#unsent;
    if (unsent?.state === "pubrel") return unsent;
    if (this.#open.size >= Math.min(IN_FLIGHT, receiveMaximum)) return undefined;
    if (!this.#isOpen) return this.#waiting.values().find(({ isEarly }) => isEarly);
    const [waiting] = this.#waiting;
    return unsent ?? waiting;
  }

  #send(publication: Publication, link: PublisherLink): void {
    this.#unsent.delete(publication);
    this.#waiting.delete(publication);
    this.#open.add(publication);
    if (publication.message.qos === 0) {
      link.write(publishPacket(publication, link.protocol), () => this.#settle(publication));
      if (this.#open.has(publication)) {
        publication.stopDeadline = link.expect("room for another message");
      }
      return;
    }
    if (publication.id === 0) {
      publication.id = this.#lowestFreeId();
      this.#inFlight.set(publication.id, publication);
    }
    publication.stopDeadline = link.expect("acknowledgement");
    const isRelease = publication.state === "pubrel";
    link.write(isRelease ? pubrel(publication.id) : publishPacket(publication, link.protocol));
    publication.wasSent = true;
  }

  /** Of a range that is known beforehand: the next process releases what this one leaves. */
  #lowestFreeId(): number {
    let id = 1;
    while (this.#inFlight.has(id)) id += 1;
    return id;
  }

  #take(packet: Packet, link: PublisherLink): void {
    const publication = this.#inFlight.get(packet.messageId ?? 0);
    if (publication === undefined || !this.#open.has(publication)) return;
    const { state, id } = publication;
    // Some brokers take QoS 2 for QoS 1 and answer with PUBACK.
    if ((packet.cmd === "puback" || packet.cmd === "pubrec") && state === "publish") {
      const code = packet.reasonCode ?? 0;
      publication.noMatchingSubscribers = code === NO_MATCHING_SUBSCRIBERS;
      if (code >= 0x80) return this.#refuse(publication, code, link);
      if (packet.cmd === "puback") return this.#settle(publication);
      publication.state = "pubrel";
      publication.stopDeadline();
      publication.stopDeadline = link.expect("acknowledgement");
      link.write(pubrel(id));
    } else if (packet.cmd === "pubcomp" && state === "pubrel") this.#settle(publication);
  }

  /** The broker has forgotten the packet id; a code that tells of a trouble with the connection is no answer. */
  #refuse(publication: Publication, code: number, link: PublisherLink): void {
    const { failure } = refusalOf(code, "the broker refused the message");
    if (isLossCode(code)) {
      publication.wasSent = false;
      link.abort(failure.message);
      return;
    }
    const { why = "", remedy } = failure;
    const facts = { why, ...(remedy !== undefined && { remedy }) };
    const { waiter } = publication;
    this.#remove(publication);
    waiter?.reject(new Failure("refused", failure.message, facts));
    this.#pump();
  }

  #settle(publication: Publication): void {
    if (!this.#open.has(publication)) return;
    const { waiter, noMatchingSubscribers } = publication;
    this.#remove(publication);
    waiter?.resolve({ noMatchingSubscribers });
    this.#pump();
  }

  #remove(publication: Publication): void {
    publication.stopDeadline();
    this.#open.delete(publication);
    if (publication.id > 0) this.#inFlight.delete(publication.id);
  }

  #tellIdle(): void {
    const next = this.#link && this.#next(this.#link);
    if (this.#open.size > 0 || next !== undefined) return;
    for (const resolve of this.#onIdle.splice(0)) resolve();
  }
}

function reasonOf({ reason }: AbortSignal): Error {
  return reason instanceof ConnectionLost ? reason : asFailure(reason);
}

function publishPacket({ message, id, wasSent }: Publication, protocol: 4 | 5): Packet {
  const { topic, payload, qos, retain = false, properties } = message;
  return {
    cmd: "publish",
    topic,
    payload: typeof payload === "string" ? payload : Buffer.from(payload),
    qos,
    retain,
    dup: wasSent,
    messageId: id,
    ...(protocol === 5 && properties && { properties }),
  };
}

function pubrel(messageId: number): Packet {
  return { cmd: "pubrel", messageId };
}

type MessageIdProvider = NonNullable<IClientOptions["messageIdProvider"]>;

const MAX_ID = 65_535;

/**
 * Packet ids for what the library sends, from the top, where no publish takes its own: an acknowledgement
 * that comes late or twice is then never one of something else. None of the library's outlives its
 * connection: a SUBSCRIBE is not sent again.
 */
function createMessageIds(): MessageIdProvider {
  const taken = new Set<number>();
  let last = 0;
  return {
    allocate() {
      for (last = MAX_ID; taken.has(last); last -= 1);
      taken.add(last);
      return last;
    },
    getLastAllocated: () => last,
    register: (id) => !taken.has(id),
    deallocate: (id) => void taken.delete(id),
    // The library calls it at each CONNACK.
    clear: () => taken.clear(),
  };
}
