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
/** Once the server gave a reason for the end, only the usage and the mark of the end can follow. */
const ENDING_MS = 5_000;
const DONE = "[DONE]";

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
    if (response.body === null) throw brokenOff();
    const answer = dialect.answer();
    const body = createBodyReader(response.body, attempt);
    /** Whether the server said that the answer is whole: with `[DONE]`, or as one JSON document. */
    let isAnnounced = false;
    try {
      while (!isAnnounced && !answer.ended) {
        const events = await body.next();
        if (events === undefined) break;
        for (const event of events) {
          isAnnounced = event === DONE || typeof event !== "string";
          if (event === DONE) break;
          const text = answer.take(typeof event === "string" ? parseEvent(event) : event);
          attempt.onChunk(text);
          if (text !== "") yield text;
          if (answer.ended) break;
          if (answer.finished) attempt.onActivity(ENDING_MS);
          if (body.isDue()) await body.runEventLoop();
        }
      }
    } catch (thrown) {
      const isOurs = thrown instanceof ModelError && thrown.kind !== "silent";
      if (isOurs || !answer.finished) throw errorFrom(thrown, "broken_off", attempt.signal);
    } finally {
      await body.close(isAnnounced || answer.ended);
    }
    if (!isAnnounced && !answer.finished) throw brokenOff();
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
  const isSimple = entry.tool_schema_transform === "simple";
  /** By key; they are the same in each request. */
  const headersOf = new Map<string | undefined, Headers>();
  return async (attempt: Attempt): Promise<Response> => {
    const { call, key, signal } = attempt;
    const headers = headersOf.get(key) ?? requestHeaders(entry, dialect.headers(key));
    headersOf.set(key, headers);
    const body = dialect.body(isSimple ? { ...call, tools: call.tools.map(simplifyTool) } : call);
    let response: Response;
    try {
      response = await fetch(dialect.url, {
        method: "POST",
        headers,
        body: wellFormedJson(body),
        signal,
        // A redirected POST would lose its body, or send the key to another host.
        redirect: "manual",
        // Turns off Bun's limit of 5 minutes; the signal has the configured limit.
        timeout: false,
      });
    } catch (thrown) {
      throw errorFrom(thrown, "unreachable", signal);
    } finally {
      attempt.onActivity();
    }
    if (response.ok) return response;
    attempt.onActivity(REFUSAL_MS);
    const refusal = await errorOf(response);
    if (dialect.adaptsTo?.(refusal, body) !== true) throw refusal;
    throw new ModelError("parameter", refusal.message, { cause: refusal });
  };
}

/** The model error for a network error; a model error and the reason of an abort stay as they are. */
function errorFrom(thrown: unknown, kind: ModelErrorKind, signal: AbortSignal): unknown {
  if (thrown instanceof ModelError) return thrown;
  if (signal.aborted) return signal.reason;
  return new ModelError(kind, messageOf(thrown), { cause: thrown });
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
 * Reads a body in either form: server-sent events (HTML standard, 9.2.6), cut anywhere, or one JSON
 * document.
 */
interface BodyReader {
  /**
   * The events of the next piece, or the document, parsed, in their place; undefined at the end. Throws a
   * `ModelError`, the reason of an abort, or what the body fails with.
   */
  next(): Promise<readonly unknown[] | undefined>;
  /** Whether it is time for the event loop to run. */
  readonly isDue: () => boolean;
  /** Lets the event loop run, and throws the reason of an abort then. */
  readonly runEventLoop: () => Promise<void>;
  /** Cancels the body; one whose answer is whole is read to its end first. Never throws. */
  close(isWhole: boolean): Promise<void>;
}

function createBodyReader(body: ReadableStream<Uint8Array>, attempt: Attempt): BodyReader {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let [bytes, since] = [0, performance.now()];
  let [hasBegun, isRead, isFlushed, isTooLong] = [false, false, false, false];
  let events: string[] = [];
  const parser = createParser({
    maxBufferSize: MAX_EVENT,
    onEvent: ({ data }) => events.push(data.trim()),
    onError: ({ type }) => {
      isTooLong ||= type === "max-buffer-size-exceeded";
    },
  });

  const eventsOf = (piece: string): readonly string[] => {
    events = [];
    parser.feed(piece);
    if (isTooLong) throw new ModelError("oversized", "an event of the stream is too long");
    return events;
  };
  const isDue = (): boolean => performance.now() - since >= WORK_MS;
  const runEventLoop = async (): Promise<void> => {
    await setImmediate();
    attempt.signal.throwIfAborted();
    since = performance.now();
  };
  /** The next piece as text, within the bound of all; undefined at the end. */
  const readText = async (): Promise<string | undefined> => {
    if (isRead) return undefined;
    const { done, value } = await reader.read();
    if (done) {
      isRead = true;
      return decoder.decode() || undefined;
    }
    attempt.onActivity();
    if (isDue()) await runEventLoop();
    bytes += value.byteLength;
    if (bytes > MAX_STREAM) throw new ModelError("oversized", "the stream does not end");
    return decoder.decode(value, { stream: true });
  };

  return {
    async next() {
      const piece = await readText();
      if (piece === undefined) {
        if (isFlushed) return undefined;
        isFlushed = true;
        // Some servers leave out the blank line after their last event; half an event is no event.
        return eventsOf("\n\n").filter(isJson);
      }
      if (hasBegun) return eventsOf(piece);
      const beginning = piece.trimStart();
      if (/^[{[]/.test(beginning)) return [await readDocument(beginning, readText)];
      if (beginning.startsWith("<")) throw new ModelError("garbled", "the answer is an HTML page");
      hasBegun = beginning !== "";
      return eventsOf(beginning);
    },
    isDue,
    runEventLoop,
    async close(isWhole) {
      // The answer is whole by now, or nobody waits for it: what the body still does does not matter.
      try {
        if (isWhole && !isRead) {
          attempt.onActivity(DRAIN_MS);
          const deadline = performance.now() + DRAIN_MS;
          while (performance.now() <= deadline && (await readText()) !== undefined);
        }
        if (!isRead) await reader.cancel();
      } catch {
        // See above.
      }
    },
  };
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
