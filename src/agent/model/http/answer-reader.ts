import type { ReadableStreamDefaultReader } from "node:stream/web";
import { setImmediate } from "node:timers/promises";
import { createParser } from "eventsource-parser";
import { fromJson } from "../../../base/unknown.ts";
import type { Attempt } from "../contract.ts";
import { ModelError } from "../errors.ts";
import type { AnswerBuilder } from "./answer.ts";

/** Once the server gave a reason for the end, only the usage and the mark of the end can follow. */
const ENDING_MS = 5_000;
const DONE = "[DONE]";

/** Characters of one event. */
const MAX_EVENT = 1024 * 1024;
/** Characters of a body that is one JSON document: the longest answer with its escapes. */
const MAX_DOCUMENT = 4 * 1024 * 1024;
/** Bytes of a whole stream: the longest answer in single tokens, each in its envelope. */
const MAX_STREAM = 256 * 1024 * 1024;
/** After the last event the body is read to its end, so that the connection can be reused; no longer. */
const DRAIN_MS = 100;
/** Milliseconds of work after which the event loop runs: a fast server leaves it no other gap. */
const WORK_MS = 2;

/**
 * Reads a body into the builder of an answer, in either form: server-sent events (HTML standard, 9.2.6), cut
 * anywhere, or one JSON document. Reads nothing after `[DONE]`, or once the builder has ended.
 */
export class AnswerReader {
  /** Whether the server said that the answer is whole: with `[DONE]`, or as one JSON document. */
  isAnnounced = false;
  /** Whether all of it was JSON, and no part of an answer in this dialect. */
  get isForeign(): boolean {
    return this.#hasJson && !this.#isRecognized && !this.#isCut;
  }
  #hasJson = false;
  #isRecognized = false;
  /** The last event is incomplete. */
  #isCut = false;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #answer: AnswerBuilder;
  readonly #attempt: Attempt;
  readonly #decoder = new TextDecoder();
  readonly #parser = createParser({
    maxBufferSize: MAX_EVENT,
    onEvent: ({ data }) => this.#events.push(data.trim()),
    onError: ({ type }) => {
      this.#isTooLong ||= type === "max-buffer-size-exceeded";
    },
  });
  /** The events of the last piece, and how many of them are taken. */
  #events: string[] = [];
  #taken = 0;
  #bytes = 0;
  #hasBegun = false;
  #isTooLong = false;
  /** The body is read to its end. */
  #isRead = false;
  /** No piece is read any more. */
  #isEnded = false;
  /** When the event loop ran last. */
  #ranAt = performance.now();

  constructor(body: ReadableStream<Uint8Array>, answer: AnswerBuilder, attempt: Attempt) {
    this.#reader = body.getReader();
    this.#answer = answer;
    this.#attempt = attempt;
  }

  /**
   * The text of the next event that has some; undefined at the end of the answer. Throws a `ModelError`, the
   * reason of an abort, or what the body fails with.
   */
  async next(): Promise<string | undefined> {
    for (;;) {
      const event = this.#events[this.#taken];
      if (event === undefined && this.#isEnded) return undefined;
      const text = event === undefined ? await this.#takePiece() : this.#takeEvent(event);
      if (this.#isDue()) await this.#runEventLoop();
      if (text !== "") return text;
    }
  }

  #takeEvent(event: string): string {
    this.#taken += 1;
    this.isAnnounced = event === DONE;
    const text = this.isAnnounced ? "" : this.#takeJson(this.#parseEvent(event));
    if (this.isAnnounced || this.#answer.ended) [this.#isEnded, this.#events] = [true, []];
    else if (this.#answer.finished) this.#attempt.onActivity(ENDING_MS);
    return text;
  }

  /** An event that is no JSON is damage if a chunk of the answer came before. */
  #parseEvent(data: string): unknown {
    try {
      return fromJson(data);
    } catch (cause) {
      const kind = this.#isRecognized ? "broken_off" : "garbled";
      throw new ModelError(kind, "an event of the stream is no JSON", { cause });
    }
  }

  #takeJson(json: unknown): string {
    const text = this.#answer.take(json);
    this.#hasJson = true;
    this.#isRecognized ||= this.#answer.recognizes(json);
    this.#attempt.onChunk(text);
    return text;
  }

  /** Takes the next piece of the body; returns the text of a body that is one document. */
  async #takePiece(): Promise<string> {
    const piece = await this.#read();
    if (piece === undefined) {
      this.#isEnded = true;
      // Some servers leave out the blank line after their last event; half an event is no event.
      this.#parse("\n\n");
      const whole = this.#events.filter(isJson);
      this.#isCut = whole.length < this.#events.length;
      this.#events = whole;
      return "";
    }
    const beginning = this.#hasBegun ? piece : piece.trimStart();
    if (!this.#hasBegun && /^[{[]/.test(beginning)) {
      const json = await readDocument(beginning, () => this.#read());
      [this.isAnnounced, this.#isEnded] = [true, true];
      return this.#takeJson(json);
    }
    if (!this.#hasBegun && beginning.startsWith("<")) {
      throw new ModelError("garbled", "the answer is an HTML page");
    }
    this.#hasBegun ||= beginning !== "";
    this.#parse(beginning);
    return "";
  }

  #parse(piece: string): void {
    [this.#events, this.#taken] = [[], 0];
    this.#parser.feed(piece);
    if (this.#isTooLong) throw new ModelError("oversized", "an event of the stream is too long");
  }

  /** The next piece as text, within the bound of all; undefined at the end. */
  async #read(): Promise<string | undefined> {
    if (this.#isRead) return undefined;
    const { done, value } = await this.#reader.read();
    if (done) {
      this.#isRead = true;
      return this.#decoder.decode() || undefined;
    }
    this.#attempt.onActivity();
    if (this.#isDue()) await this.#runEventLoop();
    this.#bytes += value.byteLength;
    if (this.#bytes > MAX_STREAM) throw new ModelError("oversized", "the stream does not end");
    return this.#decoder.decode(value, { stream: true });
  }

  /** Whether it is time for the event loop to run. */
  #isDue(): boolean {
    return performance.now() - this.#ranAt >= WORK_MS;
  }

  /** Lets the event loop run, and throws the reason of an abort then. */
  async #runEventLoop(): Promise<void> {
    await setImmediate();
    this.#attempt.signal.throwIfAborted();
    this.#ranAt = performance.now();
  }

  /** Ends the reading, also in the middle; a body whose answer is whole is read to its end first. Never throws. */
  async close(): Promise<void> {
    // The answer is whole by now, or nobody waits for it: what the body still does does not matter.
    try {
      if (this.isAnnounced || this.#answer.ended) await this.#drain();
      if (!this.#isRead) await this.#reader.cancel();
    } catch {
      // See above.
    }
  }

  async #drain(): Promise<void> {
    if (this.#isRead) return;
    this.#attempt.onActivity(DRAIN_MS);
    const deadline = performance.now() + DRAIN_MS;
    while (performance.now() <= deadline && (await this.#read()) !== undefined);
  }
}

async function readDocument(
  first: string,
  readText: () => Promise<string | undefined>,
): Promise<unknown> {
  const pieces = [first];
  let length = first.length;
  for (let piece = await readText(); piece !== undefined; piece = await readText()) {
    length += piece.length;
    if (length > MAX_DOCUMENT) throw new ModelError("oversized", "the answer is too long");
    pieces.push(piece);
  }
  try {
    return fromJson(pieces.join(""));
  } catch (cause) {
    throw new ModelError("broken_off", "the answer is no whole JSON document", { cause });
  }
}

function isJson(data: string): boolean {
  try {
    return data === DONE || JSON.parse(data) !== undefined;
  } catch {
    return false;
  }
}
