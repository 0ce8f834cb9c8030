import { setImmediate } from "node:timers/promises";
import { createParser } from "eventsource-parser";
import { messageOf } from "../../../base/failure.ts";
import { fromJson } from "../../../base/unknown.ts";
import { VERSION } from "../../../base/version.ts";
import type { ModelEntry, AgentDefaults } from "../../../config/contract.ts";
import type { Attempt, Fetch, Protocol, ModelCall } from "../contract.ts";
import type { Endpoint } from "../endpoint.ts";
import { ModelError } from "../errors.ts";
import type { ModelErrorKind } from "../errors.ts";
import { simplifyTool } from "../schema.ts";
import type { AnswerBuilder } from "./answer.ts";
import { errorOf } from "./error-response.ts";
import { wellFormedJson } from "./normalize-history.ts";

/** The status is enough, so the wait for an error's body is shorter than for an answer. */
const REFUSAL_MS = 5_000;

/** The parts of a protocol that differ between dialects. */
export interface ProtocolDialect {
  readonly url: string;
  /** The headers of this dialect, with the key. */
  readonly headers: (key: string | undefined) => Readonly<Record<string, string>>;
  /** The body of one request, overridden by `extra_body`. */
  readonly body: (question: ModelCall) => Readonly<Record<string, unknown>>;
  readonly answer: () => AnswerBuilder;
  /** Whether later bodies omit the refused part, so that the call can be repeated. */
  readonly adaptsTo?: (refusal: ModelError, body: Readonly<Record<string, unknown>>) => boolean;
}

/** One POST a call, answered by a stream of server-sent events or by one JSON document. */
export function createHttpProtocol(
  dialect: ProtocolDialect,
  entry: ModelEntry,
  fetch: Fetch,
): Protocol {
  const post = createPost(dialect, entry, fetch);
  return async function* ask(attempt) {
    const response = await post(attempt);
    const answer = dialect.answer();
    if (response.body !== null) {
      const reader = createAnswerReader(response.body, answer, attempt);
      try {
        for (let text = await reader.next(); text !== undefined; text = await reader.next()) {
          yield text;
        }
      } catch (thrown) {
        const isOurs = thrown instanceof ModelError && thrown.kind !== "silent";
        if (isOurs || !answer.finished) throw errorFrom(thrown, "broken_off", attempt.signal);
      } finally {
        await reader.close();
      }
      if (!reader.isAnnounced && !answer.finished) throw brokenOff();
    } else throw brokenOff();
    const rest = answer.end();
    if (rest !== "") yield rest;
    return answer.reply();
  };
}

function brokenOff(): ModelError {
  return new ModelError("broken_off", "the stream ended before the answer did");
}

/** Sends a call; throws the error of a response with another status than 200. */
function createPost(dialect: ProtocolDialect, entry: ModelEntry, fetch: Fetch) {
  /** By key; they are the same in each request. */
  const headersOf = new Map<string | undefined, Headers>();
  return async (attempt: Attempt): Promise<Response> => {
    const { key } = attempt;
    const headers = headersOf.get(key) ?? requestHeaders(entry, dialect.headers(key));
    headersOf.set(key, headers);
    const body = dialect.body(withSimpleTools(attempt.call, entry));
    const response = await send(attempt, fetch, {
      url: dialect.url,
      headers,
      body: wellFormedJson(body),
    });
    if (response.ok) return response;
    attempt.onActivity(REFUSAL_MS);
    const refusal = await errorOf(response);
    if (dialect.adaptsTo?.(refusal, body) !== true) throw refusal;
    throw new ModelError("parameter", refusal.message, { cause: refusal });
  };
}

async function send(
  attempt: Attempt,
  fetch: Fetch,
  { url, headers, body }: { url: string; headers: Headers; body: string },
): Promise<Response> {
  try {
    return await fetch(url, {
      method: "POST",
      headers,
      body,
      signal: attempt.signal,
      // A redirected POST would lose its body, or send the key to another host.
      redirect: "manual",
      // Turns off Bun's limit of 5 minutes; the signal has the configured limit.
      timeout: false,
    });
  } catch (thrown) {
    throw errorFrom(thrown, "unreachable", attempt.signal);
  } finally {
    attempt.onActivity();
  }
}

function withSimpleTools(call: ModelCall, entry: ModelEntry): ModelCall {
  if (entry.tool_schema_transform !== "simple") return call;
  return { ...call, tools: call.tools.map(simplifyTool) };
}

/** The model error for a network error; a model error and the reason of an abort stay as they are. */
function errorFrom(thrown: unknown, kind: ModelErrorKind, signal: AbortSignal): unknown {
  if (thrown instanceof ModelError) return thrown;
  if (signal.aborted) return signal.reason;
  const message = messageOf(thrown);
  return new ModelError(kind, message, { cause: thrown });
}

/** The parts of the configuration for requests. */
export interface RequestSettings {
  readonly endpoint: Endpoint;
  readonly entry: ModelEntry;
  readonly defaults: Pick<AgentDefaults, "max_tokens" | "temperature">;
}

/** The headers of one request: the common ones, overridden by the dialect's, overridden by `custom_headers`. */
export function requestHeaders(
  entry: Pick<ModelEntry, "user_agent" | "custom_headers">,
  own: Readonly<Record<string, string>> = {},
): Headers {
  const headers = new Headers({
    "content-type": "application/json",
    accept: "text/event-stream, application/json",
    "user-agent": entry.user_agent || `PicoClaw/${VERSION}`,
    ...own,
  });
  for (const [name, value] of Object.entries(entry.custom_headers))
    headers.set(name, value.reveal());
  return headers;
}

/** Reads the body of a response into the builder of an answer. */
interface AnswerReader {
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
function createAnswerReader(
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
