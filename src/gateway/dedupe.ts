import { Failure, isWireCode } from "../base/failure.ts";
import type { StoredAnswer, StoredFailure } from "../store/contract.ts";
import { restoredAnswer } from "./answer/answer-stream.ts";
import type { AnswerStream } from "./answer/answer-stream.ts";
import type { Clock } from "./clock.ts";
import type { Request } from "./contract.ts";
import { mayRepeat, requestNameOf } from "./request-keys.ts";

export interface DedupeOptions {
  readonly clock: Pick<Clock, "now">;
  /** How long an answer is remembered after its end. */
  readonly windowMs: number;
  /** Bounds of what is remembered of finished requests; the oldest go first. */
  readonly rows: number;
  readonly bytes: number;
}

/** Which requests are the same one: those under way, and for a while those answered. */
export interface Dedupe<Entry> {
  running(request: Request): Entry | undefined;
  finished(request: Request): Entry | undefined;
  /** The request is under way now. */
  begin(request: Request, entry: Entry): void;
  /** The request was answered. */
  finish(request: Request, entry: Entry, result: Result): void;
  /** The request is not under way any more and was not answered: it may come anew. */
  forget(request: Request, entry: Entry): void;
}

/** How a request ended. */
export interface Result {
  /** Size of what the entry holds. */
  readonly bytes: number;
  readonly failed: boolean;
}

interface Row<Entry> extends Result {
  readonly entry: Entry;
  readonly at: number;
}

/** What a row costs beside the answer it holds. */
const ROW_BYTES = 512;

/**
 * A request with a key is the same as an earlier one with that key. Without a key a
 * second question in the same words is a second question, unless the transport says that it may
 * have delivered it before.
 *
 * An answer that ended in an error is repeated to a second delivery of that very request, since the
 * turn and its tool calls must not run twice because of a redelivery. The asker who asks again under
 * the same id wants a new try, and gets it.
 */
export function createDedupe<Entry>(options: DedupeOptions): Dedupe<Entry> {
  const running = new Map<string, Entry>();
  const finished = createFinished<Entry>(options);
  return {
    running: (request) => (mayRepeat(request) ? running.get(requestNameOf(request)) : undefined),
    finished(request) {
      if (!mayRepeat(request)) return undefined;
      const row = finished.get(requestNameOf(request));
      return row === undefined || (row.failed && !request.redelivered) ? undefined : row.entry;
    },
    begin(request, entry) {
      const name = requestNameOf(request);
      finished.drop(name);
      running.set(name, entry);
    },
    finish(request, entry, result) {
      const name = requestNameOf(request);
      // Another request in the same words may have taken the name since: the later one keeps it.
      if (running.get(name) !== entry) return;
      running.delete(name);
      finished.keep(name, entry, result);
    },
    forget(request, entry) {
      const name = requestNameOf(request);
      if (running.get(name) === entry) running.delete(name);
    },
  };
}

interface Finished<Entry> {
  readonly get: (name: string) => Row<Entry> | undefined;
  readonly drop: (name: string) => void;
  readonly keep: (name: string, entry: Entry, result: Result) => void;
}

function createFinished<Entry>({ clock, windowMs, rows, bytes }: DedupeOptions): Finished<Entry> {
  /** In the order of their ends, so that the front is the first to go. */
  const finished = new Map<string, Row<Entry>>();
  let held = 0;
  const drop = (name: string): void => {
    held -= finished.get(name)?.bytes ?? 0;
    finished.delete(name);
  };
  const dropOld = (): void => {
    for (const [name, row] of finished) {
      const fits = finished.size <= rows && held <= bytes;
      if (fits && clock.now() - row.at < windowMs) return;
      drop(name);
    }
  };
  return {
    drop,
    get(name) {
      dropOld();
      return finished.get(name);
    },
    keep(name, entry, { bytes: weight, failed }) {
      drop(name);
      const row = { entry, at: clock.now(), failed, bytes: weight + ROW_BYTES };
      finished.set(name, row);
      held += row.bytes;
      dropOld();
    },
  };
}

/** What is kept of a request as long as it may be asked again: no more than its answer needs. */
export interface DedupeEntry {
  readonly answer: AnswerStream;
  /** Where the answer goes while it is under way. */
  readonly addresses: Set<string>;
  /** Resolves when the request is as durable as it will be: a duplicate may be acknowledged then. */
  readonly stored: Promise<void>;
  /** Set when it ended so. */
  failure: Failure | undefined;
}

/** A request that is being stored: whether it is new, and where its answer is, turns out then. */
export interface Storing {
  readonly address: string;
  /** Resolves when it is stored. */
  readonly stored: Promise<void>;
}

/** What it costs to keep an answer that has ended, and whether it ended well. */
export function resultOf({ answer, failure }: DedupeEntry): Result {
  return { bytes: 2 * answer.length, failed: failure !== undefined };
}

/** An answer that the store kept, as it was given. */
export function restoredEntry({ parts, failure }: StoredAnswer, clock: Clock): DedupeEntry {
  const failed = failure && storedFailure(failure);
  return {
    answer: restoredAnswer(clock, parts, failed),
    addresses: new Set(),
    stored: Promise.resolve(),
    failure: failed,
  };
}

/** An answer as the store keeps it. */
export function storedAnswerOf(parts: readonly string[], failure?: Failure): StoredAnswer {
  if (failure === undefined) return { parts };
  const { code, message, retryAfter } = failure;
  return {
    parts,
    failure: { code, message, ...(retryAfter !== undefined && { retryAfter }) },
  };
}

function storedFailure({ code, message, retryAfter }: StoredFailure): Failure {
  return new Failure(
    isWireCode(code) ? code : "internal",
    message,
    retryAfter === undefined ? {} : { retryAfter },
  );
}
