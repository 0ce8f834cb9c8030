import type { Duplex } from "node:stream";
import type { Client } from "aedes";

interface Deferrable {
  readonly payload: Uint8Array | string;
  readonly messageId?: number | undefined;
  readonly qos: 0 | 1 | 2;
}

interface PendingAck {
  encode?: () => Buffer;
}

export interface DeferredAcksOptions {
  readonly send: (stream: Duplex, bytes: Buffer) => void;
  /** Called before an acknowledgement is sent that must say that nobody took the message. */
  readonly onRefused: (sender: Client, messageId: number) => void;
  readonly isConnected: (session: string) => boolean;
  /** Milliseconds without progress after which a request no longer waits for a gateway. */
  readonly stallMs: number;
  /** Milliseconds without progress after which an answer no longer waits for a client. */
  readonly answerMs: number;
}

/**
 * Defers the acknowledgements of requests until a gateway has acknowledged them, and of a gateway's answers
 * until its clients have: the broker keeps nothing on disk, and an acknowledged message must survive the end
 * of the process.
 */
export class DeferredAcks {
  readonly #options: DeferredAcksOptions;
  readonly #gateways: StallWatch;
  readonly #clients: StallWatch;
  readonly #expected = new WeakMap<object, DeferredAck>();
  readonly #deferred = new WeakMap<Duplex, Map<number, PendingAck>>();

  constructor(options: DeferredAcksOptions) {
    this.#options = options;
    this.#gateways = new StallWatch(options.stallMs, () => true);
    this.#clients = new StallWatch(options.answerMs, options.isConnected);
  }

  /** Defers the acknowledgement of a request to which a gateway is subscribed, or of a gateway's answer. */
  expect(sender: Client, kind: "request" | "answer", packet: Deferrable): void {
    const { payload, messageId = 0, qos } = packet;
    if (typeof payload === "string" || payload.length === 0) return;
    // The library sends PUBACK before it looks for subscribers, and PUBREC after.
    if (qos === 1) this.#defer(sender.conn, messageId);
    const begin = (): void => {
      if (qos === 2) this.#defer(sender.conn, messageId);
    };
    const end = (isRefused: boolean): void => {
      if (isRefused) this.#options.onRefused(sender, messageId);
      this.#sendAck(sender.conn, messageId);
    };
    const ack =
      kind === "request"
        ? new RequestAck(this.#gateways, begin, () => end(false))
        : new AnswerAck({ ...this.#options, stalls: this.#clients, begin, end });
    this.#expected.set(payload, ack);
  }

  /** The deferred acknowledgement of the message with this payload, if there is one; once. */
  of(payload: unknown): DeferredAck | undefined {
    if (typeof payload !== "object" || payload === null) return undefined;
    const ack = this.#expected.get(payload);
    this.#expected.delete(payload);
    return ack;
  }

  /** Whether the library's PUBACK or PUBREC is deferred; then it is encoded and sent later. */
  defersAck(stream: Duplex, id: number, encode: () => Buffer): boolean {
    const one = this.#deferred.get(stream)?.get(id);
    if (one) one.encode = encode;
    return one !== undefined;
  }

  /** Answers wait for the client again after its next connection. */
  disconnected(session: string): void {
    this.#clients.renew(session);
  }

  #defer(stream: Duplex, id: number): void {
    const ofStream = this.#deferred.get(stream) ?? new Map<number, PendingAck>();
    this.#deferred.set(stream, ofStream.set(id, {}));
  }

  #sendAck(stream: Duplex, id: number): void {
    const one = this.#deferred.get(stream)?.get(id);
    this.#deferred.get(stream)?.delete(id);
    if (one?.encode) this.#options.send(stream, one.encode());
  }
}

/**
 * How the wait for a session's copy of a message ends: its client has acknowledged it, nobody needs to wait
 * for it (it has expired, is too large, or its client is away), or its client may never get it.
 */
export type CopyEnd = "acknowledged" | "done" | "lost";

/** The acknowledgement of one message to its sender, deferred until sessions have acknowledged it. */
export interface DeferredAck {
  /** Whether the sender will send the message again because the session's client acknowledges nothing. */
  isStalled(session: string): boolean;
  /** Waits for the session's client; `isRequest` tells whether the session is a gateway's. */
  wait(session: string, isRequest: boolean): void;
  settled(session: string, end: CopyEnd): void;
  /** All calls of `wait` are made. */
  ready(): void;
}

/** Waits for one gateway; no longer than `stallMs` without progress of its session. */
class RequestAck implements DeferredAck {
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

  isStalled(): boolean {
    return false;
  }

  wait(session: string, isRequest: boolean): void {
    if (isRequest && this.#stalls.add(session, this)) this.#waiting.add(session);
  }

  settled(session: string, end: CopyEnd): void {
    const isAcknowledged = end === "acknowledged";
    if (isAcknowledged) this.#stalls.renew(session);
    this.#stalls.remove(session, this);
    if (this.#waiting.delete(session)) this.#check(isAcknowledged);
  }

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

type AnswerLimits = Pick<DeferredAcksOptions, "isConnected" | "stallMs" | "answerMs">;

interface AnswerAckOptions extends AnswerLimits {
  readonly stalls: StallWatch;
  readonly begin: () => void;
  /** Called with whether the gateway must keep the answer. */
  readonly end: (isRefused: boolean) => void;
}

/**
 * Waits for all connected clients that get the answer; after the first of them, no longer than `answerMs` for
 * the others. If none takes it, the gateway keeps the answer and sends it again. A client that acknowledges
 * nothing for `stallMs` more counts as one that takes all answers.
 */
class AnswerAck implements DeferredAck {
  readonly #options: AnswerAckOptions;
  readonly #waiting = new Set<string>();
  #isReady = false;
  #isTaken = false;
  #isLost = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: AnswerAckOptions) {
    this.#options = options;
  }

  isStalled(session: string): boolean {
    const { stalls, stallMs } = this.#options;
    return (stalls.stalledMs(session) ?? stallMs) < stallMs;
  }

  wait(session: string): void {
    const { stalls, isConnected } = this.#options;
    if (isConnected(session) && stalls.add(session, this)) this.#waiting.add(session);
    else if (this.isStalled(session)) this.#isLost = true;
    else this.#isTaken = true;
  }

  settled(session: string, end: CopyEnd): void {
    const { stalls } = this.#options;
    if (end === "acknowledged") {
      stalls.renew(session);
      this.#limitTime();
    }
    stalls.remove(session, this);
    if (end === "lost") this.#isLost = true;
    else this.#isTaken = true;
    if (this.#waiting.delete(session)) this.#check();
  }

  ready(): void {
    this.#isReady = true;
    this.#options.begin();
    this.#check();
  }

  #limitTime(): void {
    if (this.#waiting.size < 2 || this.#timer) return;
    this.#timer = setTimeout(() => {
      for (const session of this.#waiting) this.#options.stalls.remove(session, this);
      this.#waiting.clear();
      this.#check();
    }, this.#options.answerMs).unref();
  }

  #check(): void {
    if (!this.#isReady || this.#waiting.size > 0) return;
    clearTimeout(this.#timer);
    this.#isReady = false;
    this.#options.end(this.#isLost && !this.#isTaken);
  }
}

/** The sessions that acknowledgements wait for, each until it makes no progress for some time. */
class StallWatch {
  readonly #ms: number;
  readonly #isConnected: (session: string) => boolean;
  readonly #sessions = new Map<string, { open: Set<DeferredAck>; timer: NodeJS.Timeout }>();
  /** Since when each of them has been stalled. */
  readonly #stalled = new Map<string, number>();

  constructor(ms: number, isConnected: (session: string) => boolean) {
    this.#ms = ms;
    this.#isConnected = isConnected;
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

  /** For how long the session has been stalled. */
  stalledMs(session: string): number | undefined {
    const since = this.#stalled.get(session);
    return since === undefined ? undefined : performance.now() - since;
  }

  #giveUp(session: string): void {
    const isConnected = this.#isConnected(session);
    if (isConnected) this.#stalled.set(session, performance.now());
    const end = isConnected ? "lost" : "done";
    for (const ack of this.#sessions.get(session)?.open ?? []) ack.settled(session, end);
  }
}
