import type { Duplex } from "node:stream";
import type { Client } from "aedes";

/** Holds clients up that publish more requests than there is room for: what is not taken is not acknowledged. */
export interface Backpressure {
  /** Calls `goOn` when the request may be taken, at once where it can; never where its sender leaves before. */
  take(request: HeldRequest, goOn: () => void): void;
  /** The session's queue has become shorter. */
  onShorter(session: string): void;
  left(sender: Client): void;
}

interface HeldRequest {
  readonly sender: Client;
  readonly topic: string;
  readonly bytes: number;
}

export interface BackpressureOptions {
  /** The sessions of gateways that a message of that topic is a request for. */
  readonly gatewaysOf: (topic: string) => ReadonlySet<string>;
  readonly takesRequests: (session: string) => boolean;
  /** Adds to the bytes that the broker holds for the client. */
  readonly hold: (client: Client, bytes: number) => void;
  /** Milliseconds of no progress after which nobody waits for a session until it makes some. */
  readonly stallMs: number;
}

interface Waiting extends HeldRequest {
  readonly goOn: () => void;
}

/** The requests that wait for one session, in order. */
interface WaitingQueue {
  readonly waiting: Set<Waiting>;
  readonly timer: ReturnType<typeof setTimeout>;
  isAdmitting: boolean;
}

export function createBackpressure(options: BackpressureOptions): Backpressure {
  const { gatewaysOf, takesRequests, hold } = options;
  const lines = new Map<string, WaitingQueue>();
  const stalled = new Set<string>();
  const isWaitedFor = (session: string): boolean =>
    !stalled.has(session) && !takesRequests(session);
  const takes = (session: string): boolean => !lines.has(session) && !isWaitedFor(session);
  const admit = (session: string): void => {
    const line = lines.get(session);
    const [first] = line?.waiting ?? [];
    if (line === undefined || line.isAdmitting) return;
    if (first === undefined) closeQueue(lines, session);
    else if (!isWaitedFor(session)) {
      hold(first.sender, -first.bytes);
      // The next one when this is in the queue.
      admitFirst(line, first, () => admit(session));
    }
  };
  const lineOf = (session: string): WaitingQueue => {
    const line =
      lines.get(session) ??
      openQueue(options.stallMs, () => {
        stalled.add(session);
        admit(session);
      });
    lines.set(session, line);
    return line;
  };
  return {
    take(request, goOn) {
      const [session, ...others] = gatewaysOf(request.topic);
      // One gateway that takes it is enough.
      if (session === undefined || [session, ...others].some(takes)) return goOn();
      lineOf(session).waiting.add({ ...request, goOn });
      hold(request.sender, request.bytes);
    },
    onShorter(session) {
      stalled.delete(session);
      lines.get(session)?.timer.refresh();
      admit(session);
    },
    left(sender) {
      for (const [session, { waiting }] of lines) {
        for (const one of waiting) if (one.sender === sender) waiting.delete(one);
        admit(session);
      }
    },
  };
}

function openQueue(patienceMs: number, giveUp: () => void): WaitingQueue {
  const timer = setTimeout(giveUp, patienceMs);
  timer.unref();
  return { waiting: new Set(), timer, isAdmitting: false };
}

function closeQueue(lines: Map<string, WaitingQueue>, session: string): void {
  clearTimeout(lines.get(session)?.timer);
  lines.delete(session);
}

function admitFirst(line: WaitingQueue, first: Waiting, then: () => void): void {
  line.waiting.delete(first);
  line.isAdmitting = true;
  first.goOn();
  setImmediate(() => {
    line.isAdmitting = false;
    then();
  });
}

/** What is to happen before a message is acknowledged to its sender. */
export interface DeferredAck {
  /** The session's client is to have it before. */
  wait(session: string): void;
  /** The session's client has acknowledged it, which is enough, or does not get it any more. */
  settled(session: string, isAcknowledged: boolean): void;
  /** All sessions are named. */
  ready(): void;
}

/**
 * Keeps back the acknowledgements of requests until a gateway has acknowledged them: the broker keeps
 * nothing on disk, and what it acknowledged must survive the end of the process.
 */
export interface DeferredAcks {
  /** A request has come that a gateway is subscribed to. */
  expect(sender: Client, request: Request): void;
  /** Undefined where nobody expects one for the payload. */
  of(payload: unknown): DeferredAck | undefined;
  /** Whether the library's PUBACK or PUBREC is kept back; it is sent later. */
  defersAck(stream: Duplex, id: number, acknowledgement: Buffer): boolean;
}

interface Request {
  readonly payload: Uint8Array | string;
  readonly messageId?: number | undefined;
  readonly qos: 0 | 1 | 2;
}

interface DeferredAcksOptions {
  readonly send: (stream: Duplex, bytes: Buffer) => void;
  /** Milliseconds of no progress after which nobody waits for a session until it makes some. */
  readonly patienceMs: number;
}

interface PendingAck {
  acknowledgement?: Buffer;
}

export function createDeferredAcks({ send, patienceMs }: DeferredAcksOptions): DeferredAcks {
  const expected = new WeakMap<object, DeferredAck>();
  const kept = new WeakMap<Duplex, Map<number, PendingAck>>();
  const patience = createStallWatch(patienceMs);
  const keep = (stream: Duplex, id: number): void => {
    const ofStream = kept.get(stream) ?? new Map<number, PendingAck>();
    kept.set(stream, ofStream.set(id, {}));
  };
  const giveBack = (stream: Duplex, id: number): void => {
    const one = kept.get(stream)?.get(id);
    kept.get(stream)?.delete(id);
    if (one?.acknowledgement) send(stream, one.acknowledgement);
  };
  return {
    expect({ conn }, { payload, messageId = 0, qos }) {
      if (typeof payload === "string" || payload.length === 0) return;
      // The library sends PUBACK before it looks for subscribers, and PUBREC after.
      if (qos === 1) keep(conn, messageId);
      expected.set(
        payload,
        createDeferredAck(patience, {
          begin: () => (qos === 2 ? keep(conn, messageId) : undefined),
          end: () => giveBack(conn, messageId),
        }),
      );
    },
    of(payload) {
      if (typeof payload !== "object" || payload === null) return undefined;
      const receipt = expected.get(payload);
      expected.delete(payload);
      return receipt;
    },
    defersAck(stream, id, acknowledgement) {
      const one = kept.get(stream)?.get(id);
      if (one) one.acknowledgement = acknowledgement;
      return one !== undefined;
    },
  };
}

function createDeferredAck(
  patience: StallWatch,
  { begin, end }: { readonly begin: () => void; readonly end: () => void },
): DeferredAck {
  const waiting = new Set<string>();
  let isReady = false;
  const check = (isAcknowledged: boolean): void => {
    if (!isReady || (waiting.size > 0 && !isAcknowledged)) return;
    for (const session of waiting) patience.remove(session, receipt);
    waiting.clear();
    isReady = false;
    end();
  };
  const receipt: DeferredAck = {
    wait(session) {
      if (patience.add(session, receipt)) waiting.add(session);
    },
    settled(session, isAcknowledged) {
      if (isAcknowledged) patience.renew(session);
      patience.remove(session, receipt);
      if (waiting.delete(session)) check(isAcknowledged);
    },
    ready() {
      isReady = true;
      begin();
      check(false);
    },
  };
  return receipt;
}

interface StallWatch {
  /** Whether the session is waited for. */
  add(session: string, receipt: DeferredAck): boolean;
  remove(session: string, receipt: DeferredAck): void;
  /** The session has made progress. */
  renew(session: string): void;
}

function createStallWatch(ms: number): StallWatch {
  const sessions = new Map<string, { open: Set<DeferredAck>; timer: NodeJS.Timeout }>();
  const givenUp = new Set<string>();
  const giveUp = (session: string): void => {
    givenUp.add(session);
    for (const receipt of sessions.get(session)?.open ?? []) receipt.settled(session, false);
  };
  return {
    add(session, receipt) {
      if (givenUp.has(session)) return false;
      const one = sessions.get(session) ?? {
        open: new Set(),
        timer: setTimeout(() => giveUp(session), ms).unref(),
      };
      sessions.set(session, one);
      one.open.add(receipt);
      return true;
    },
    remove(session, receipt) {
      const one = sessions.get(session);
      one?.open.delete(receipt);
      if (one?.open.size !== 0) return;
      clearTimeout(one.timer);
      sessions.delete(session);
    },
    renew(session) {
      givenUp.delete(session);
      sessions.get(session)?.timer.refresh();
    },
  };
}
