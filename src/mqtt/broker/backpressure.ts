import type { Duplex } from "node:stream";
import type { Client } from "aedes";

/** Makes clients wait that publish more requests than there is room for, by not acknowledging them. */
export interface Backpressure {
  /** Calls `goOn` when the request may be taken, perhaps at once; never if its sender disconnects before. */
  take(request: HeldRequest, goOn: () => void): void;
  /** Tells that the session's queue has become shorter. */
  onShorter(session: string): void;
  disconnected(sender: Client): void;
}

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

export function createBackpressure(options: BackpressureOptions): Backpressure {
  const { gatewaysOf, takesRequests, hold, stallMs } = options;
  const queues = new Map<string, WaitingQueue>();
  const stalled = new Set<string>();
  const mustWait = (session: string): boolean => !stalled.has(session) && !takesRequests(session);
  const takes = (session: string): boolean => !queues.has(session) && !mustWait(session);
  const admit = (session: string): void => {
    const queue = queues.get(session);
    const [first] = queue?.waiting ?? [];
    if (queue === undefined || queue.isAdmitting) return;
    if (first === undefined) {
      clearTimeout(queue.timer);
      queues.delete(session);
    } else if (!mustWait(session)) {
      hold(first.sender, -first.bytes);
      queue.waiting.delete(first);
      queue.isAdmitting = true;
      first.goOn();
      // The next request is admitted when this one is in the session's queue.
      setImmediate(() => {
        queue.isAdmitting = false;
        admit(session);
      });
    }
  };
  const openQueue = (session: string): WaitingQueue => {
    const timer = setTimeout(() => {
      stalled.add(session);
      admit(session);
    }, stallMs).unref();
    const queue = { waiting: new Set<WaitingRequest>(), timer, isAdmitting: false };
    queues.set(session, queue);
    return queue;
  };
  return {
    take(request, goOn) {
      const [session, ...others] = gatewaysOf(request.topic);
      // One gateway that accepts it is enough.
      if (session === undefined || [session, ...others].some(takes)) return goOn();
      const queue = queues.get(session) ?? openQueue(session);
      queue.waiting.add({ ...request, goOn });
      hold(request.sender, request.bytes);
    },
    onShorter(session) {
      stalled.delete(session);
      queues.get(session)?.timer.refresh();
      admit(session);
    },
    disconnected(sender) {
      for (const [session, { waiting }] of queues) {
        for (const one of waiting) if (one.sender === sender) waiting.delete(one);
        admit(session);
      }
    },
  };
}

/** The acknowledgement of one message to its sender, deferred until gateways have acknowledged it. */
export interface DeferredAck {
  /** Waits for the session's client. */
  wait(session: string): void;
  /** The session's client has acknowledged the message, which is enough, or will not get it. */
  settled(session: string, isAcknowledged: boolean): void;
  /** All calls of `wait` are made. */
  ready(): void;
}

/**
 * Defers the acknowledgements of requests until a gateway has acknowledged them: the broker keeps nothing on
 * disk, and an acknowledged request must survive the end of the process.
 */
export interface DeferredAcks {
  /** Defers the acknowledgement of a request to which a gateway is subscribed. */
  expect(sender: Client, request: Request): void;
  /** The deferred acknowledgement of the message with this payload, if there is one; once. */
  of(payload: unknown): DeferredAck | undefined;
  /** Whether the library's PUBACK or PUBREC is deferred; then it is sent later. */
  defersAck(stream: Duplex, id: number, acknowledgement: Buffer): boolean;
}

interface Request {
  readonly payload: Uint8Array | string;
  readonly messageId?: number | undefined;
  readonly qos: 0 | 1 | 2;
}

interface DeferredAcksOptions {
  readonly send: (stream: Duplex, bytes: Buffer) => void;
  /** Milliseconds without progress after which clients no longer wait for a session, until it makes some. */
  readonly stallMs: number;
}

interface PendingAck {
  acknowledgement?: Buffer;
}

export function createDeferredAcks({ send, stallMs }: DeferredAcksOptions): DeferredAcks {
  const expected = new WeakMap<object, DeferredAck>();
  const deferred = new WeakMap<Duplex, Map<number, PendingAck>>();
  const stalls = createStallWatch(stallMs);
  const defer = (stream: Duplex, id: number): void => {
    const ofStream = deferred.get(stream) ?? new Map<number, PendingAck>();
    deferred.set(stream, ofStream.set(id, {}));
  };
  const sendAck = (stream: Duplex, id: number): void => {
    const one = deferred.get(stream)?.get(id);
    deferred.get(stream)?.delete(id);
    if (one?.acknowledgement) send(stream, one.acknowledgement);
  };
  return {
    expect({ conn }, { payload, messageId = 0, qos }) {
      if (typeof payload === "string" || payload.length === 0) return;
      // The library sends PUBACK before it looks for subscribers, and PUBREC after.
      if (qos === 1) defer(conn, messageId);
      expected.set(
        payload,
        createDeferredAck(stalls, {
          begin: () => (qos === 2 ? defer(conn, messageId) : undefined),
          end: () => sendAck(conn, messageId),
        }),
      );
    },
    of(payload) {
      if (typeof payload !== "object" || payload === null) return undefined;
      const ack = expected.get(payload);
      expected.delete(payload);
      return ack;
    },
    defersAck(stream, id, acknowledgement) {
      const one = deferred.get(stream)?.get(id);
      if (one) one.acknowledgement = acknowledgement;
      return one !== undefined;
    },
  };
}

function createDeferredAck(
  stalls: StallWatch,
  { begin, end }: { readonly begin: () => void; readonly end: () => void },
): DeferredAck {
  const waiting = new Set<string>();
  let isReady = false;
  const check = (isAcknowledged: boolean): void => {
    if (!isReady || (waiting.size > 0 && !isAcknowledged)) return;
    for (const session of waiting) stalls.remove(session, ack);
    waiting.clear();
    isReady = false;
    end();
  };
  const ack: DeferredAck = {
    wait(session) {
      if (stalls.add(session, ack)) waiting.add(session);
    },
    settled(session, isAcknowledged) {
      if (isAcknowledged) stalls.renew(session);
      stalls.remove(session, ack);
      if (waiting.delete(session)) check(isAcknowledged);
    },
    ready() {
      isReady = true;
      begin();
      check(false);
    },
  };
  return ack;
}

interface StallWatch {
  /** Returns whether the session is waited for. */
  add(session: string, ack: DeferredAck): boolean;
  remove(session: string, ack: DeferredAck): void;
  /** Tells that the session has made progress. */
  renew(session: string): void;
}

function createStallWatch(ms: number): StallWatch {
  const sessions = new Map<string, { open: Set<DeferredAck>; timer: NodeJS.Timeout }>();
  const stalled = new Set<string>();
  const giveUp = (session: string): void => {
    stalled.add(session);
    for (const ack of sessions.get(session)?.open ?? []) ack.settled(session, false);
  };
  return {
    add(session, ack) {
      if (stalled.has(session)) return false;
      const one = sessions.get(session) ?? {
        open: new Set(),
        timer: setTimeout(() => giveUp(session), ms).unref(),
      };
      sessions.set(session, one);
      one.open.add(ack);
      return true;
    },
    remove(session, ack) {
      const one = sessions.get(session);
      one?.open.delete(ack);
      if (one?.open.size !== 0) return;
      clearTimeout(one.timer);
      sessions.delete(session);
    },
    renew(session) {
      stalled.delete(session);
      sessions.get(session)?.timer.refresh();
    },
  };
}
