import type { Duplex } from "node:stream";
import type { Client } from "aedes";

/** What is to happen before a message is acknowledged to its sender. */
export interface Receipt {
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
export interface Receipts {
  /** A request has come that a gateway is subscribed to. */
  expect(sender: Client, request: Request): void;
  /** Undefined where nobody expects one for the payload. */
  of(payload: unknown): Receipt | undefined;
  /** Whether the library's PUBACK or PUBREC is kept back; it is sent later. */
  keepsBack(stream: Duplex, id: number, acknowledgement: Buffer): boolean;
}

interface Request {
  readonly payload: Uint8Array | string;
  readonly messageId?: number | undefined;
  readonly qos: 0 | 1 | 2;
}

export interface ReceiptsOptions {
  readonly send: (stream: Duplex, bytes: Buffer) => void;
  /** Milliseconds of no progress after which nobody waits for a session until it makes some. */
  readonly patienceMs: number;
}

interface Kept {
  acknowledgement?: Buffer;
}

export function createReceipts({ send, patienceMs }: ReceiptsOptions): Receipts {
  const expected = new WeakMap<object, Receipt>();
  const kept = new WeakMap<Duplex, Map<number, Kept>>();
  const patience = createPatience(patienceMs);
  const keep = (stream: Duplex, id: number): void => {
    const ofStream = kept.get(stream) ?? new Map<number, Kept>();
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
        createReceipt(patience, {
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
    keepsBack(stream, id, acknowledgement) {
      const one = kept.get(stream)?.get(id);
      if (one) one.acknowledgement = acknowledgement;
      return one !== undefined;
    },
  };
}

function createReceipt(
  patience: Patience,
  { begin, end }: { readonly begin: () => void; readonly end: () => void },
): Receipt {
  const waiting = new Set<string>();
  let isReady = false;
  const check = (isAcknowledged: boolean): void => {
    if (!isReady || (waiting.size > 0 && !isAcknowledged)) return;
    for (const session of waiting) patience.remove(session, receipt);
    waiting.clear();
    isReady = false;
    end();
  };
  const receipt: Receipt = {
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

interface Patience {
  /** Whether the session is waited for. */
  add(session: string, receipt: Receipt): boolean;
  remove(session: string, receipt: Receipt): void;
  /** The session has made progress. */
  renew(session: string): void;
}

function createPatience(ms: number): Patience {
  const sessions = new Map<string, { open: Set<Receipt>; timer: NodeJS.Timeout }>();
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
