import type { Duplex } from "node:stream";
import type { Client } from "aedes";

interface HeldRequest {
  readonly sender: Client;
  readonly topic: string;
  readonly bytes: number;
}

export interface BackpressureOptions {
  /** The sessions of gateways for which a message of the topic is a request. */
  readonly gatewaysOf: (topic: string) => ReadonlySet<string>;
  readonly takesRequests: (session: string) => boolean;
  /** Adds to the memory that is counted for the client. */
  readonly hold: (client: Client, bytes: number) => void;
  /** Milliseconds without progress after which clients no longer wait for a session, until it makes some. */
  readonly stallMs: number;
}

interface WaitingRequest extends HeldRequest {
  readonly goOn: () => void;
}

/** The requests that wait for one session, in order of arrival. */
interface WaitingQueue {
  readonly waiting: Set<WaitingRequest>;
  readonly timer: NodeJS.Timeout;
  isAdmitting: boolean;
}

/** Makes clients wait that publish more requests than there is room for, by not acknowledging them. */
export class Backpressure {
  readonly #options: BackpressureOptions;
  readonly #queues = new Map<string, WaitingQueue>();
  readonly #stalled = new Set<string>();

  constructor(options: BackpressureOptions) {
    this.#options = options;
  }

  /** Calls `goOn` when the request may be taken, perhaps at once; never if its sender disconnects before. */
  take(request: HeldRequest, goOn: () => void): void {
    const [session, ...others] = this.#options.gatewaysOf(request.topic);
    const takes = (each: string): boolean => !this.#queues.has(each) && !this.#mustWait(each);
    // One gateway that accepts it is enough.
    if (session === undefined || [session, ...others].some(takes)) return goOn();
    const queue = this.#queues.get(session) ?? this.#openQueue(session);
    queue.waiting.add({ ...request, goOn });
    this.#options.hold(request.sender, request.bytes);
  }

  /** Tells that the session's queue has become shorter. */
  onShorter(session: string): void {
    this.#stalled.delete(session);
    this.#queues.get(session)?.timer.refresh();
    this.#admit(session);
  }

  disconnected(sender: Client): void {
    for (const [session, { waiting }] of this.#queues) {
      for (const one of waiting) if (one.sender === sender) waiting.delete(one);
      this.#admit(session);
    }
  }

  #mustWait(session: string): boolean {
    return !this.#stalled.has(session) && !this.#options.takesRequests(session);
  }

  #openQueue(session: string): WaitingQueue {
    const timer = setTimeout(() => {
      this.#stalled.add(session);
      this.#admit(session);
    }, this.#options.stallMs).unref();
    const queue = { waiting: new Set<WaitingRequest>(), timer, isAdmitting: false };
    this.#queues.set(session, queue);
    return queue;
  }

  #admit(session: string): void {
    const queue = this.#queues.get(session);
    const [first] = queue?.waiting ?? [];
    if (queue === undefined || queue.isAdmitting) return;
    if (first === undefined) {
      clearTimeout(queue.timer);
      this.#queues.delete(session);
    } else if (!this.#mustWait(session)) {
      this.#options.hold(first.sender, -first.bytes);
      queue.waiting.delete(first);
      queue.isAdmitting = true;
      first.goOn();
      // The next request is admitted when this one is in the session's queue.
      setImmediate(() => {
        queue.isAdmitting = false;
        this.#admit(session);
      });
    }
  }
}

interface Request {
  readonly payload: Uint8Array | string;
  readonly messageId?: number | undefined;
  readonly qos: 0 | 1 | 2;
}

interface PendingAck {
  acknowledgement?: Buffer;
}

/**
 * Defers the acknowledgements of requests until a gateway has acknowledged them: the broker keeps nothing on
 * disk, and an acknowledged request must survive the end of the process. Does so no longer than `stallMs`
 * without progress of a gateway's session.
 */
export class DeferredAcks {
  readonly #send: (stream: Duplex, bytes: Buffer) => void;
  readonly #stalls: StallWatch;
  readonly #expected = new WeakMap<object, DeferredAck>();
  readonly #deferred = new WeakMap<Duplex, Map<number, PendingAck>>();

  constructor(send: (stream: Duplex, bytes: Buffer) => void, stallMs: number) {
    this.#send = send;
    this.#stalls = new StallWatch(stallMs);
  }

  /** Defers the acknowledgement of a request to which a gateway is subscribed. */
  expect({ conn }: Client, { payload, messageId = 0, qos }: Request): void {
    if (typeof payload === "string" || payload.length === 0) return;
    // The library sends PUBACK before it looks for subscribers, and PUBREC after.
    if (qos === 1) this.#defer(conn, messageId);
    const begin = (): void => {
      if (qos === 2) this.#defer(conn, messageId);
    };
    const end = (): void => this.#sendAck(conn, messageId);
    this.#expected.set(payload, new DeferredAck(this.#stalls, begin, end));
  }

  /** The deferred acknowledgement of the message with this payload, if there is one; once. */
  of(payload: unknown): DeferredAck | undefined {
    if (typeof payload !== "object" || payload === null) return undefined;
    const ack = this.#expected.get(payload);
    this.#expected.delete(payload);
    return ack;
  }

  /** Whether the library's PUBACK or PUBREC is deferred; then it is sent later. */
  defersAck(stream: Duplex, id: number, acknowledgement: Buffer): boolean {
    const one = this.#deferred.get(stream)?.get(id);
    if (one) one.acknowledgement = acknowledgement;
    return one !== undefined;
  }

  #defer(stream: Duplex, id: number): void {
    const ofStream = this.#deferred.get(stream) ?? new Map<number, PendingAck>();
    this.#deferred.set(stream, ofStream.set(id, {}));
  }

  #sendAck(stream: Duplex, id: number): void {
    const one = this.#deferred.get(stream)?.get(id);
    this.#deferred.get(stream)?.delete(id);
    if (one?.acknowledgement) this.#send(stream, one.acknowledgement);
  }
}

/** The acknowledgement of one message to its sender, deferred until gateways have acknowledged it. */
export class DeferredAck {
  readonly #stalls: StallWatch;
  readonly #begin: () => void;
  readonly #end: () => void;
  readonly #waiting = new Set<string>();
  #isReady = false;

  constructor(stalls: StallWatch, begin: () => void, end: () => void) {
    this.#stalls = stalls;
    this.#begin = begin;
    this.#end = end;
  }

  /** Waits for the session's client. */
  wait(session: string): void {
    if (this.#stalls.add(session, this)) this.#waiting.add(session);
  }

  /** The session's client has acknowledged the message, which is enough, or will not get it. */
  settled(session: string, isAcknowledged: boolean): void {
    if (isAcknowledged) this.#stalls.renew(session);
    this.#stalls.remove(session, this);
    if (this.#waiting.delete(session)) this.#check(isAcknowledged);
  }

  /** All calls of `wait` are made. */
  ready(): void {
    this.#isReady = true;
    this.#begin();
    this.#check(false);
  }

  #check(isAcknowledged: boolean): void {
    if (!this.#isReady || (this.#waiting.size > 0 && !isAcknowledged)) return;
    for (const session of this.#waiting) this.#stalls.remove(session, this);
    this.#waiting.clear();
    this.#isReady = false;
    this.#end();
  }
}

/** The sessions that acknowledgements wait for, each until it makes no progress for some time. */
class StallWatch {
  readonly #ms: number;
  readonly #sessions = new Map<string, { open: Set<DeferredAck>; timer: NodeJS.Timeout }>();
  readonly #stalled = new Set<string>();

  constructor(ms: number) {
    this.#ms = ms;
  }

  /** Returns whether the session is waited for. */
  add(session: string, ack: DeferredAck): boolean {
    if (this.#stalled.has(session)) return false;
    const one = this.#sessions.get(session) ?? {
      open: new Set(),
      timer: setTimeout(() => this.#giveUp(session), this.#ms).unref(),
    };
    this.#sessions.set(session, one);
    one.open.add(ack);
    return true;
  }

  remove(session: string, ack: DeferredAck): void {
    const one = this.#sessions.get(session);
    one?.open.delete(ack);
    if (one?.open.size !== 0) return;
    clearTimeout(one.timer);
    this.#sessions.delete(session);
  }

  /** Tells that the session has made progress. */
  renew(session: string): void {
    this.#stalled.delete(session);
    this.#sessions.get(session)?.timer.refresh();
  }

  #giveUp(session: string): void {
    this.#stalled.add(session);
    for (const ack of this.#sessions.get(session)?.open ?? []) ack.settled(session, false);
  }
}
