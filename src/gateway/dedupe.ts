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

/** How a request ended. */
export interface Result {
  /** Bytes that the entry holds. */
  readonly bytes: number;
  readonly failed: boolean;
}

/** A finished answer in the list of all, in the order in which they finished. */
interface Row<Entry> extends Result {
  readonly name: string;
  readonly entry: Entry;
  readonly at: number;
  older: Row<Entry> | undefined;
  younger: Row<Entry> | undefined;
}

/** Bytes of a row besides its answer. */
const ROW_BYTES = 512;

/**
 * Recognizes repeated requests: running ones, and for a while answered ones. A request with a key is the same
 * as an earlier one with that key. Without a key the same text is a new request, unless the transport says
 * that it may have delivered the request before.
 *
 * A failed answer is repeated to a redelivery: the turn and its tool calls must not run twice because of
 * it. A client that asks again under the same id gets a new attempt.
 */
export class Dedupe<Entry> {
  readonly #options: DedupeOptions;
  readonly #running = new Map<string, Entry>();
  readonly #finished = new Map<string, Row<Entry>>();
  /** The ends of the list. The order of the map is not used: its first entry is behind all that were deleted. */
  #oldest: Row<Entry> | undefined;
  #youngest: Row<Entry> | undefined;
  /** Bytes of the finished ones. */
  #bytes = 0;

  constructor(options: DedupeOptions) {
    this.#options = options;
  }

  running(request: Request): Entry | undefined {
    return mayRepeat(request) ? this.#running.get(requestNameOf(request)) : undefined;
  }

  finished(request: Request): Entry | undefined {
    if (!mayRepeat(request)) return undefined;
    this.#dropOld();
    const row = this.#finished.get(requestNameOf(request));
    return row === undefined || (row.failed && !request.redelivered) ? undefined : row.entry;
  }

  /** The request is running. */
  begin(request: Request, entry: Entry): void {
    if (request.once) return;
    const name = requestNameOf(request);
    this.#drop(name);
    this.#running.set(name, entry);
  }

  /** The request was answered. */
  finish(request: Request, entry: Entry, { bytes, failed }: Result): void {
    const name = requestNameOf(request);
    // A later request with the same text may have taken the name: then the name stays with that one.
    if (this.#running.get(name) !== entry) return;
    this.#running.delete(name);
    const row: Row<Entry> = {
      name,
      entry,
      at: this.#options.clock.now(),
      failed,
      bytes: bytes + ROW_BYTES,
      older: this.#youngest,
      younger: undefined,
    };
    if (row.older === undefined) this.#oldest = row;
    else row.older.younger = row;
    this.#youngest = row;
    this.#finished.set(name, row);
    this.#bytes += row.bytes;
    this.#dropOld();
  }

  /** The request is not running any more and has no answer here: it may be asked again. */
  forget(request: Request, entry: Entry): void {
    const name = requestNameOf(request);
    if (this.#running.get(name) === entry) this.#running.delete(name);
  }

  #drop(name: string): void {
    const row = this.#finished.get(name);
    if (row === undefined) return;
    this.#finished.delete(name);
    this.#bytes -= row.bytes;
    if (row.older === undefined) this.#oldest = row.younger;
    else row.older.younger = row.younger;
    if (row.younger === undefined) this.#youngest = row.older;
    else row.younger.older = row.older;
  }

  #dropOld(): void {
    const { clock, windowMs, rows, bytes } = this.#options;
    for (let row = this.#oldest; row !== undefined; row = row.younger) {
      const fits = this.#finished.size <= rows && this.#bytes <= bytes;
      if (fits && clock.now() - row.at < windowMs) return;
      this.#drop(row.name);
    }
  }
}

/** A request that is being stored. Only then it is known whether it is new and where its answer is. */
export interface Storing {
  readonly address: string;
  /** Resolves with true when the request is stored, with false when it was given up and may come again. */
  readonly stored: Promise<boolean>;
}

/** The size of a finished answer and whether it failed. */
export function resultOf({ length, failure }: AnswerStream): Result {
  return { bytes: 2 * length, failed: failure !== undefined };
}
