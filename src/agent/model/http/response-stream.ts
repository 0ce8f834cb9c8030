import { setImmediate } from "node:timers/promises";
import { createParser } from "eventsource-parser";
import { fromJson } from "../../../base/unknown.ts";
import { ModelError } from "../errors.ts";

/**
 * One JSON value of an answer's body (`whole` where it was the entire body, because the server did
 * not stream), or the announced end.
 */
export type Chunk = { readonly json: unknown; readonly whole: boolean } | "done";

/** Told of whatever arrives, comments too; with milliseconds where a shorter limit on silence holds. */
export type Moved = (milliseconds?: number) => void;

export interface ReadingOptions {
  /** Ends the reading with its reason, also of a body that does not hear of it. */
  readonly signal: AbortSignal;
  readonly moved: Moved;
  readonly isEnded: () => boolean;
}

/** Characters of one event. */
const MAX_EVENT = 1024 * 1024;
/** Characters of a body that is one JSON document: the longest answer with its escapes. */
const MAX_DOCUMENT = 4 * 1024 * 1024;
/** Bytes of a whole stream: the longest answer in single tokens, each in its envelope. */
const MAX_STREAM = 256 * 1024 * 1024;
/** After the last event the body is read to its end, so that the connection can be used again; not for longer. */
const DRAIN_MS = 100;

/**
 * The JSON values of an answer, whichever way the server sends them: server-sent events (HTML
 * standard, 9.2.6) in any cuts, or one JSON document. Whether the answer is whole is for the reader
 * to know; once `isEnded` says so nothing more is yielded, as after `[DONE]`. Throws a `ModelFault`, or
 * what the body fails with.
 */
export async function* readChunks(
  body: ReadableStream<Uint8Array>,
  { signal, moved, isEnded }: ReadingOptions,
): AsyncGenerator<Chunk> {
  const breathe = createBreathing(signal);
  const text = boundedText(body, moved, breathe);
  const first = await firstWords(text);
  if (first === undefined) return;
  if (first.startsWith("<")) throw new ModelError("garbled", "the answer is an HTML page");
  if (/^[{[]/.test(first)) yield { json: await documentOf(first, text), whole: true };
  else yield* eventsOf(first, text, { moved, isEnded, breathe });
}

async function* boundedText(
  body: ReadableStream<Uint8Array>,
  moved: Moved,
  breathe: () => Promise<void>,
): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let bytes = 0;
  for await (const piece of body) {
    moved();
    await breathe();
    bytes += piece.byteLength;
    if (bytes > MAX_STREAM) throw new ModelError("oversized", "the stream does not end");
    yield decoder.decode(piece, { stream: true });
  }
  yield decoder.decode();
}

/** The beginning up to the first piece in which something can be seen; undefined for a blank body. */
async function firstWords(text: AsyncGenerator<string>): Promise<string | undefined> {
  for (;;) {
    const step = await text.next();
    if (step.done === true) return undefined;
    const seen = step.value.trimStart();
    if (seen !== "") return seen;
  }
}

async function documentOf(first: string, rest: AsyncGenerator<string>): Promise<unknown> {
  const pieces = [first];
  let length = first.length;
  for await (const piece of rest) {
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

/** Milliseconds of work after which all else of the program has its turn. */
const BREATH_MS = 2;

/**
 * Lets the event loop go on from time to time, and looks at the signal then: a server that sends faster than its events are taken
 * leaves no gap in which anybody else would be heard.
 */
function createBreathing(signal: AbortSignal): () => Promise<void> {
  let since = performance.now();
  return async () => {
    if (performance.now() - since < BREATH_MS) return;
    await setImmediate();
    signal.throwIfAborted();
    since = performance.now();
  };
}

interface Reading extends Omit<ReadingOptions, "signal"> {
  readonly breathe: () => Promise<void>;
}

async function* eventsOf(
  first: string,
  rest: AsyncGenerator<string>,
  { moved, isEnded, breathe }: Reading,
): AsyncGenerator<Chunk> {
  const events = createEventReader();
  for (const data of events.take(first)) {
    await breathe();
    yield chunkOf(data);
    if (data === DONE || isEnded()) return await drain(rest, moved);
  }
  for await (const piece of rest) {
    for (const data of events.take(piece)) {
      await breathe();
      yield chunkOf(data);
      if (data === DONE || isEnded()) return await drain(rest, moved);
    }
  }
  // Some servers leave out the blank line after their last event; half an event is no event.
  for (const data of events.take("\n\n")) if (isJson(data)) yield chunkOf(data);
  return undefined;
}

const DONE = "[DONE]";

function createEventReader(): { take(piece: string): string[] } {
  let found: string[] = [];
  let overflow = false;
  const parser = createParser({
    maxBufferSize: MAX_EVENT,
    onEvent: ({ data }) => found.push(data.trim()),
    onError: ({ type }) => {
      if (type === "max-buffer-size-exceeded") overflow = true;
    },
  });
  return {
    take(piece) {
      found = [];
      parser.feed(piece);
      if (overflow) throw new ModelError("oversized", "an event of the stream is too long");
      return found;
    },
  };
}

function chunkOf(data: string): Chunk {
  if (data === DONE) return "done";
  try {
    return { json: fromJson(data), whole: false };
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

/** The answer is whole by now: whatever the rest of the body does is of no account. */
async function drain(rest: AsyncGenerator<string>, moved: Moved): Promise<void> {
  moved(DRAIN_MS);
  const deadline = performance.now() + DRAIN_MS;
  try {
    for await (const _ of rest) if (performance.now() > deadline) return;
  } catch {
    // See above.
  }
}
