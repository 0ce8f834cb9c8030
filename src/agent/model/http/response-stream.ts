import { setImmediate } from "node:timers/promises";
import { createParser } from "eventsource-parser";
import { fromJson } from "../../../base/unknown.ts";
import type { Attempt } from "../contract.ts";
import { ModelError } from "../errors.ts";
import type { AnswerBuilder } from "./answer.ts";

/** Reads the body of a response into the builder of an answer. */
export interface AnswerReader {
  /**
   * The text of the next event that has some; undefined at the end of the answer. Throws a `ModelError`,
   * or what the body fails with.
   */
  next(): Promise<string | undefined>;
  /** Whether the server said that the answer is whole: with `[DONE]`, or as one JSON document. */
  readonly isAnnounced: boolean;
  /** Ends the reading, also in the middle. */
  close(): Promise<void>;
}

/** Characters of one event. */
const MAX_EVENT = 1024 * 1024;
/** Characters of a body that is one JSON document: the longest answer with its escapes. */
const MAX_DOCUMENT = 4 * 1024 * 1024;
/** Bytes of a whole stream: the longest answer in single tokens, each in its envelope. */
const MAX_STREAM = 256 * 1024 * 1024;
/** Once the server gave a reason for the end, only the usage and the mark of the end can follow. */
const ENDING_MS = 5_000;
/** After the last event the body is read to its end, so that the connection can be reused; no longer. */
const DRAIN_MS = 100;
/** Milliseconds of work after which the event loop runs: a fast server leaves it no other gap. */
const WORK_MS = 2;
const DONE = "[DONE]";

/**
 * Reads a body in either form: server-sent events (HTML standard, 9.2.6), cut anywhere, or one JSON
 * document. Nothing is read after `[DONE]`, or once the builder has ended.
 */
export function createAnswerReader(
  body: ReadableStream<Uint8Array>,
  answer: AnswerBuilder,
  attempt: Attempt,
): AnswerReader {
  const pieces = createPieceReader(body, attempt);
  const events = createEventParser();
  let queue: readonly string[] = [];
  let [at, hasBegun, isEnded, isAnnounced] = [0, false, false, false];

  const takeEvent = (data: string): string => {
    const text = data === DONE ? "" : takeJson(parseEvent(data), answer, attempt);
    if (data === DONE) isAnnounced = true;
    if (data === DONE || answer.ended) [isEnded, queue] = [true, []];
    else if (answer.finished) attempt.onActivity(ENDING_MS);
    return text;
  };

  /** Takes the next piece of the body; returns the text of a body that is one document. */
  const takePiece = async (): Promise<string> => {
    const piece = await pieces.next();
    at = 0;
    if (piece === undefined) {
      isEnded = true;
      // Some servers leave out the blank line after their last event; half an event is no event.
      queue = events.take("\n\n").filter(isJson);
      return "";
    }
    const beginning = hasBegun ? piece : piece.trimStart();
    if (!hasBegun && /^[{[]/.test(beginning)) {
      const json = await readDocument(beginning, pieces);
      [isAnnounced, isEnded] = [true, true];
      return takeJson(json, answer, attempt);
    }
    if (!hasBegun && beginning.startsWith("<")) {
      throw new ModelError("garbled", "the answer is an HTML page");
    }
    hasBegun ||= beginning !== "";
    queue = events.take(beginning);
    return "";
  };

  return {
    async next() {
      for (;;) {
        if (at >= queue.length && isEnded) return undefined;
        const text = at < queue.length ? takeEvent(queue[at++] ?? "") : await takePiece();
        if (pieces.isDue()) await pieces.runEventLoop();
        if (text !== "") return text;
      }
    },
    get isAnnounced() {
      return isAnnounced;
    },
    close: () => pieces.close(isAnnounced || answer.ended),
  };
}

function takeJson(json: unknown, answer: AnswerBuilder, attempt: Attempt): string {
  const text = answer.take(json);
  attempt.onChunk(text);
  return text;
}

/** The pieces of a body as text, within their bound. */
interface PieceReader {
  /** Undefined at the end. */
  next(): Promise<string | undefined>;
  /** Whether it is time for the event loop to run. */
  readonly isDue: () => boolean;
  /** Lets the event loop run, and throws the reason of an abort then. */
  readonly runEventLoop: () => Promise<void>;
  /** Cancels the body; one whose answer is whole is read to its end first. Never throws. */
  close(isWhole: boolean): Promise<void>;
}

function createPieceReader(body: ReadableStream<Uint8Array>, attempt: Attempt): PieceReader {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let [bytes, isDone, since] = [0, false, performance.now()];
  const isDue = (): boolean => performance.now() - since >= WORK_MS;
  const runEventLoop = async (): Promise<void> => {
    await setImmediate();
    attempt.signal.throwIfAborted();
    since = performance.now();
  };
  const next = async (): Promise<string | undefined> => {
    if (isDone) return undefined;
    const { done, value } = await reader.read();
    if (done) {
      isDone = true;
      return decoder.decode() || undefined;
    }
    attempt.onActivity();
    if (isDue()) await runEventLoop();
    bytes += value.byteLength;
    if (bytes > MAX_STREAM) throw new ModelError("oversized", "the stream does not end");
    return decoder.decode(value, { stream: true });
  };
  return {
    next,
    isDue,
    runEventLoop,
    async close(isWhole) {
      // The answer is whole by now, or nobody waits for it: what the body still does does not matter.
      try {
        if (isWhole && !isDone) await drain(next, attempt);
        if (!isDone) await reader.cancel();
      } catch {
        // See above.
      }
    },
  };
}

async function drain(next: () => Promise<string | undefined>, attempt: Attempt): Promise<void> {
  attempt.onActivity(DRAIN_MS);
  const deadline = performance.now() + DRAIN_MS;
  while (performance.now() <= deadline && (await next()) !== undefined);
}

async function readDocument(first: string, rest: PieceReader): Promise<unknown> {
  const pieces = [first];
  let length = first.length;
  for (let piece = await rest.next(); piece !== undefined; piece = await rest.next()) {
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

function createEventParser(): { take(piece: string): readonly string[] } {
  let found: string[] = [];
  let isTooLong = false;
  const parser = createParser({
    maxBufferSize: MAX_EVENT,
    onEvent: ({ data }) => found.push(data.trim()),
    onError: ({ type }) => {
      if (type === "max-buffer-size-exceeded") isTooLong = true;
    },
  });
  return {
    take(piece) {
      found = [];
      parser.feed(piece);
      if (isTooLong) throw new ModelError("oversized", "an event of the stream is too long");
      return found;
    },
  };
}

function parseEvent(data: string): unknown {
  try {
    return fromJson(data);
  } catch (cause) {
    throw new ModelError("garbled", "an event of the stream is no JSON", { cause });
  }
}

function isJson(data: string): boolean {
  try {
    return data === DONE || JSON.parse(data) !== undefined;
  } catch {
    return false;
  }
}
