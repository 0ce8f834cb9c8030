import type { Packet, IClientOptions } from "mqtt";
import { onAbort } from "../../base/async.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import {
  ConnectionLost,
  Undeliverable,
  type Outgoing,
  type Published,
} from "../protocol/message.ts";
import { isLossCode, refusalOf } from "./reasons.ts";

/** One network connection from its CONNACK on, as publishing needs it. */
export interface PublisherLink {
  readonly protocol: 4 | 5;
  /** The broker kept our session, and with it the packet ids of the last connection. */
  readonly resumed: boolean;
  /** How many unacknowledged publishes of QoS 1 and 2 the broker accepts. */
  readonly receiveMaximum: number;
  /** The highest QoS that the broker accepts. */
  readonly maximumQos: 0 | 1 | 2;
  /** Writes one packet at once; calls `written` when the connection accepts more. */
  write(packet: Packet, written?: () => void): void;
  /** Aborts the connection if the returned function is not called in time; `what` names what is missing then. */
  expect(what: string): () => void;
  abort(reason: string): void;
}

export interface AttachedLink {
  /** Takes a packet of the broker's; all but acknowledgements of publishes are ignored. */
  readonly take: (packet: Packet) => void;
  /**
   * Tells which QoS the broker has granted to a subscription. The first one of a process decides whether the
   * broker can have packet ids of a former process that wait for PUBREL.
   */
  readonly granted: (qos: 0 | 1 | 2) => void;
  /** Tells that we are subscribed: on a new session only early publishes are sent before. */
  readonly open: () => void;
  /**
   * Tells that the connection is over; unacknowledged publishes wait for the next one. With `byBroker` the
   * broker, or what is in between, has ended it: perhaps because of a publish.
   */
  readonly detach: (byBroker?: boolean) => void;
}

/** Our own bound on unacknowledged publishes, and so the highest packet id; the broker's Receive Maximum lowers it. */
const IN_FLIGHT = 20;
const NO_MATCHING_SUBSCRIBERS = 0x10;

/** Losses in a row after which publishes are sent one at a time, to find the one that ends the connection. */
const LOSSES_IN_A_ROW = 2;
/** A publish is given up after so many losses, each within `CAUSED_MS` after it was sent alone. */
const LOSSES_ALONE = 3;
const CAUSED_MS = 2_000;
/** Characters of a topic in a failure. */
const LONGEST_SHOWN = 200;

interface Publication {
  readonly message: Outgoing;
  readonly isEarly: boolean;
  /** Undefined when the caller no longer waits. */
  waiter: PromiseWithResolvers<Published> | undefined;
  /** Packet id; 0 before it is sent for the first time, and at QoS 0. */
  id: number;
  /** The packet that the broker acknowledges next. */
  state: "publish" | "pubrel";
  wasSent: boolean;
  /** The message's QoS, or less where the broker accepts less. */
  qos: 0 | 1 | 2;
  sentAt: number;
  lossesAlone: number;
  noMatchingSubscribers: boolean;
  stopDeadline: () => void;
}

/**
 * The sender's side of QoS 1 and 2 (MQTT 5 sections 4.3 and 4.4), across network connections. Publishes that
 * were not acknowledged on one connection are sent again on the next, before new ones and in the same order.
 * If the broker kept the session they go under their own packet ids, with DUP, or as PUBREL after a PUBREC;
 * otherwise as new messages. A publish that ends each connection on which it is sent is given up: otherwise it
 * would do so for ever.
 */
export class Publisher {
  /** Packet ids for the library's SUBSCRIBE packets; a publish never has one of these. */
  readonly messageIds = createMessageIds();
  /** QoS 1 and 2, from PUBLISH to the last acknowledgement, by packet id, in the order of sending. */
  readonly #inFlight = new Map<number, Publication>();
  /** Those of them that were not yet sent on this connection. */
  readonly #unsent = new Set<Publication>();
  /** Sent on this connection and not settled. */
  readonly #open = new Set<Publication>();
  #waiting = new Set<Publication>();
  /** In flight at the last loss, and not settled since. */
  readonly #suspects = new Set<Publication>();
  /** Losses in a row with publishes in flight. */
  #losses = 0;
  /** Set while a connection has to last without the publish that is about to be given up. */
  #lastAttempt: ReturnType<typeof setTimeout> | undefined;
  #link: PublisherLink | undefined;
  #isOpen = false;
  #failure: Failure | undefined;
  #releases: boolean;
  #isPumping = false;
  #onIdle: (() => void)[] = [];

  /**
   * With `releases`, the first resumed session completes what a former process left unreleased (QoS 2), before
   * anything else is published. Not if the broker grants less than QoS 2: RabbitMQ 3.10 reads nothing more after
   * a PUBREL.
   */
  constructor(releases: boolean) {
    this.#releases = releases;
  }

  /**
   * Resolves when delivered as far as the QoS tells: at PUBACK or PUBCOMP, at QoS 0 when written. Rejects
   * with `Undeliverable` when the broker refuses the message or ends each connection because of it, with a
   * `Failure` when `end` is called, and with the signal's reason; a message that was sent by then keeps its
   * packet id until it is acknowledged. With `isEarly` it does not wait until we are subscribed.
   */
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
      qos: message.qos,
      sentAt: 0,
      lossesAlone: 0,
      noMatchingSubscribers: false,
      stopDeadline: () => {},
    };
    const abandon = (): void => {
      publication.waiter = undefined;
      if (this.#waiting.delete(publication)) this.#clearSuspect(publication);
      if (signal) waiter.reject(reasonOf(signal));
    };
    const stopListening = onAbort(signal, abandon);
    this.#waiting.add(publication);
    this.#pump();
    return waiter.promise.finally(stopListening);
  }

  /** Publishes on this connection from now on. */
  attach(link: PublisherLink): AttachedLink {
    this.#detach();
    this.#link = link;
    if (!link.resumed) this.#forgetSession();
    this.#releases &&= link.resumed;
    this.#isOpen = link.resumed && !this.#releases;
    for (const publication of this.#inFlight.values()) this.#unsent.add(publication);
    this.#delayLastAttempt();
    this.#pump();
    return {
      take: (packet) => {
        if (this.#link === link) this.#take(packet, link);
      },
      granted: (qos) => {
        if (this.#link === link && this.#releases) this.#release(qos, link);
      },
      open: () => {
        if (this.#link !== link) return;
        this.#isOpen = true;
        this.#pump();
      },
      detach: (byBroker = false) => {
        if (this.#link !== link) return;
        if (byBroker) this.#lost();
        this.#detach();
      },
    };
  }

  #release(granted: 0 | 1 | 2, link: PublisherLink): void {
    this.#releases = false;
    if (granted < 2) return;
    for (let id = 1; id <= IN_FLIGHT; id += 1) link.write(pubrel(id));
  }

  /** Resolves when all that can be sent now is sent and acknowledged. */
  idle(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onIdle.push(resolve);
    this.#notifyIdle();
    return promise;
  }

  /** Rejects all pending and later publishes. */
  end(failure: Failure): void {
    this.#failure = failure;
    const all = [...this.#inFlight.values(), ...this.#open, ...this.#waiting];
    this.#detach();
    this.#inFlight.clear();
    this.#waiting.clear();
    for (const { waiter } of all) waiter?.reject(failure);
    this.#notifyIdle();
  }

  /** The broker has lost our packet ids: unacknowledged publishes become new messages. */
  #forgetSession(): void {
    for (const publication of this.#inFlight.values()) {
      publication.state = "publish";
      publication.wasSent = false;
      publication.noMatchingSubscribers = false;
      if (publication.waiter !== undefined) continue;
      this.#inFlight.delete(publication.id);
      this.#clearSuspect(publication);
    }
  }

  /** The broker has ended the connection: looks for the publish that may be the cause. */
  #lost(): void {
    // A message of QoS 0 that nobody waits for is not sent again.
    const sent = [...this.#open].filter(
      ({ state, qos, waiter }) => state === "publish" && (qos > 0 || waiter !== undefined),
    );
    const isAlone = this.#losses >= LOSSES_IN_A_ROW && sent.length === 1;
    // It was lost without these, too.
    for (const other of this.#suspects) if (!sent.includes(other)) other.lossesAlone = 0;
    this.#suspects.clear();
    this.#losses = sent.length === 0 ? 0 : this.#losses + 1;
    for (const publication of sent) {
      const isCause = isAlone && performance.now() - publication.sentAt < CAUSED_MS;
      publication.lossesAlone = isCause ? publication.lossesAlone + 1 : 0;
      this.#suspects.add(publication);
      if (publication.lossesAlone >= LOSSES_ALONE) this.#giveUp(publication);
    }
  }

  /** The broker may have received a message of QoS 2: it releases the packet id first. */
  #giveUp(publication: Publication): void {
    const { message, qos, id, waiter } = publication;
    publication.waiter = undefined;
    if (qos === 2) publication.state = "pubrel";
    else this.#inFlight.delete(id);
    this.#clearSuspect(publication);
    waiter?.reject(endsConnection(message));
  }

  /** The publish did not end the connection. When all of them did not, they are no longer sent one by one. */
  #clearSuspect(publication: Publication): void {
    if (this.#suspects.delete(publication) && this.#suspects.size === 0) this.#losses = 0;
  }

  /** A connection that is lost without the publish, too, is not lost because of it. */
  #delayLastAttempt(): void {
    if (!this.#suspects.values().some(({ lossesAlone }) => lossesAlone === LOSSES_ALONE - 1))
      return;
    this.#lastAttempt = setTimeout(() => {
      this.#lastAttempt = undefined;
      this.#pump();
    }, CAUSED_MS);
  }

  #detach(): void {
    this.#link = undefined;
    clearTimeout(this.#lastAttempt);
    this.#lastAttempt = undefined;
    const again = [...this.#open].filter(({ qos, waiter }) => qos === 0 && waiter);
    for (const { stopDeadline } of this.#open) stopDeadline();
    this.#open.clear();
    this.#unsent.clear();
    if (again.length > 0) this.#waiting = new Set([...again, ...this.#waiting]);
  }

  /** Sends all that may be sent now; not reentrant. */
  #pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    for (let link = this.#link; link !== undefined; link = this.#link) {
      const next = this.#next(link);
      if (next === undefined) break;
      this.#send(next, link);
    }
    this.#isPumping = false;
    this.#notifyIdle();
  }

  /** The broker's Receive Maximum does not apply to PUBREL (MQTT 5 section 4.9). */
  #next({ receiveMaximum }: PublisherLink): Publication | undefined {
    const [unsent] = this.#unsent;
    if (unsent?.state === "pubrel") return unsent;
    const most = this.#losses < LOSSES_IN_A_ROW ? Math.min(IN_FLIGHT, receiveMaximum) : 1;
    if (this.#open.size >= most) return undefined;
    if (!this.#isOpen || this.#lastAttempt !== undefined)
      return this.#waiting.values().find(({ isEarly }) => isEarly);
    const [waiting] = this.#waiting;
    return unsent ?? waiting;
  }

  #send(publication: Publication, link: PublisherLink): void {
    this.#unsent.delete(publication);
    this.#waiting.delete(publication);
    this.#open.add(publication);
    publication.sentAt = performance.now();
    if (!publication.wasSent) this.#setQos(publication, link);
    if (publication.qos === 0) {
      link.write(publishPacket(publication, link.protocol), () => this.#settle(publication));
      if (this.#open.has(publication)) {
        publication.stopDeadline = link.expect("room for another message");
      }
      return;
    }
    if (publication.id === 0) {
      // Ids come from a small range: the next process releases all of it (see `releases`).
      let id = 1;
      while (this.#inFlight.has(id)) id += 1;
      publication.id = id;
      this.#inFlight.set(id, publication);
    }
    publication.stopDeadline = link.expect("acknowledgement");
    const isRelease = publication.state === "pubrel";
    link.write(isRelease ? pubrel(publication.id) : publishPacket(publication, link.protocol));
    publication.wasSent = true;
  }

  #setQos(publication: Publication, { maximumQos }: PublisherLink): void {
    publication.qos = publication.message.qos > maximumQos ? maximumQos : publication.message.qos;
    if (publication.qos > 0 || publication.id === 0) return;
    this.#inFlight.delete(publication.id);
    publication.id = 0;
  }

  #take(packet: Packet, link: PublisherLink): void {
    const publication = this.#inFlight.get(packet.messageId ?? 0);
    if (publication === undefined || !this.#open.has(publication)) return;
    const { state, id } = publication;
    // Some brokers treat QoS 2 as QoS 1 and answer with PUBACK.
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

  /** The broker has released the packet id. A code that concerns the connection does not refuse the message. */
  #refuse(publication: Publication, code: number, link: PublisherLink): void {
    const { failure } = refusalOf(code, "the broker refused the message");
    if (isLossCode(code)) {
      publication.wasSent = false;
      link.abort(failure.message);
      return;
    }
    const { message, why, remedy } = failure;
    this.#settle(publication, new Undeliverable(message, { why, remedy }, false));
  }

  #settle(publication: Publication, failure?: Failure): void {
    if (!this.#open.delete(publication)) return;
    const { id, waiter, noMatchingSubscribers } = publication;
    publication.stopDeadline();
    if (id > 0) this.#inFlight.delete(id);
    this.#clearSuspect(publication);
    if (failure) waiter?.reject(failure);
    else waiter?.resolve({ noMatchingSubscribers });
    this.#pump();
  }

  #notifyIdle(): void {
    const next = this.#link && this.#next(this.#link);
    if (this.#open.size > 0 || next !== undefined) return;
    for (const resolve of this.#onIdle.splice(0)) resolve();
  }
}

function reasonOf({ reason }: AbortSignal): Error {
  return reason instanceof ConnectionLost ? reason : asFailure(reason);
}

function endsConnection({ topic, payload }: Outgoing): Undeliverable {
  const facts = {
    why: `it has ${Buffer.byteLength(payload)} bytes, on ${topic.slice(0, LONGEST_SHOWN)}`,
    remedy: "the broker may limit messages: send less, or raise its limit",
  };
  return new Undeliverable("the broker ends the connection for this message", facts, true);
}

function publishPacket({ message, qos, id, wasSent }: Publication, protocol: 4 | 5): Packet {
  const { topic, payload, retain = false, properties } = message;
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

/**
 * Packet ids for packets of the library, from the first one that no publish has. So a late or repeated
 * acknowledgement never matches another packet. The library's ids end with their connection: a SUBSCRIBE is not
 * sent again. They stay low: RabbitMQ 3.10 numbers its own messages on from the id of a SUBSCRIBE, and ends the
 * connection when it comes to an id that is unacknowledged.
 */
function createMessageIds(): MessageIdProvider {
  const used = new Set<number>();
  let last = 0;
  return {
    allocate() {
      for (last = IN_FLIGHT + 1; used.has(last); last += 1);
      used.add(last);
      return last;
    },
    getLastAllocated: () => last,
    register: (id) => !used.has(id),
    deallocate: (id) => void used.delete(id),
    // The library calls it at each CONNACK.
    clear: () => used.clear(),
  };
}
