import { Failure, isWireCode } from "../base/failure.ts";
import type { StoredAnswer, StoredFailure } from "../store/contract.ts";
import { restoredAnswer } from "./answer/answer-stream.ts";
import type { AnswerStream } from "./answer/answer-stream.ts";
import type { Clock } from "./clock.ts";
import type { Request } from "./contract.ts";
import { mayRepeat, requestNameOf } from "./request-keys.ts";

export interface DedupeOptions {
  readonly clock: Pick<Clock, "now">;
  /** How long a finished answer is remembered. */
  readonly windowMs: number;
  /** Bounds of the finished answers that are remembered; the oldest are dropped first. */
  readonly rows: number;
  readonly bytes: number;
}

/** Recognizes repeated requests: running ones, and for a while answered ones. */
export interface Dedupe<Entry> {
  running(request: Request): Entry | undefined;
  finished(request: Request): Entry | undefined;
  /** The request is running. */
  begin(request: Request, entry: Entry): void;
  /** The request was answered. */
  finish(request: Request, entry: Entry, result: Result): void;
  /** The request is not running any more and has no answer here: it may be asked again. */
  forget(request: Request, entry: Entry): void;
}

/** How a request ended. */
export interface Result {
  /** Bytes that the entry holds. */
  readonly bytes: number;
  readonly failed: boolean;
}

interface Row<Entry> extends Result {
  readonly entry: Entry;
  readonly at: number;
}

/** Bytes of a row besides its answer. */
const ROW_BYTES = 512;

/**
 * A request with a key is the same as an earlier one with that key. Without a key the same text is a new
 * request, unless the transport says that it may have delivered the request before.
 *
 * A failed answer is repeated to a redelivery: the turn and its tool calls must not run twice because of
 * it. A client that asks again under the same id gets a new attempt.
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
      // A later request with the same text may have taken the name: then the name stays with that one.
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
  /** The one that finished first is the first. */
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

/** What is remembered of a request while it may be repeated. */
export interface DedupeEntry {
  readonly answer: AnswerStream;
  /** Where the answer is being delivered. */
  readonly addresses: Set<string>;
  /** Resolves when the request is stored, if it will be: a duplicate may be acknowledged then. */
  readonly stored: Promise<void>;
  /** The failure that the answer ended with. */
  failure: Failure | undefined;
}

/** A request that is being stored. Only then it is known whether it is new and where its answer is. */
export interface Storing {
  readonly address: string;
  /** Resolves when the request is stored. */
  readonly stored: Promise<void>;
}

/** The size of a finished answer and whether it failed. */
export function resultOf({ answer, failure }: DedupeEntry): Result {
  return { bytes: 2 * answer.length, failed: failure !== undefined };
}

/** An entry with an answer from the store. */
export function restoredEntry({ parts, failure }: StoredAnswer, clock: Clock): DedupeEntry {
  const failed = failure && storedFailure(failure);
  return {
    answer: restoredAnswer(clock, parts, failed),
    addresses: new Set(),
    stored: Promise.resolve(),
    failure: failed,
  };
}

/** An answer in the form of the store. */
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
