import type { ReadableStreamDefaultReader } from "node:stream/web";
import { setImmediate } from "node:timers/promises";
import { createParser } from "eventsource-parser";
import type { AnswerFormat } from "../../../base/contract.ts";
import { networkMessage } from "../../../base/network-error.ts";
import { fromJson } from "../../../base/unknown.ts";
import { VERSION } from "../../../base/version.ts";
import type { ModelEntry, AgentDefaults } from "../../../config/contract.ts";
import type { Attempt, Fetch, ModelCall, Protocol } from "../contract.ts";
import type { Endpoint } from "../endpoint.ts";
import { ModelError } from "../errors.ts";
import type { ModelErrorKind } from "../errors.ts";
import type { EntryMemory } from "../memory.ts";
import { simplifyTool } from "../schema.ts";
import { createAdaptation } from "./adaptation.ts";
import type { AnswerBuilder } from "./answer.ts";
import { errorOf, missingPathIn } from "./error-response.ts";
import { createFormatRefusals, withFields } from "./format-refusals.ts";
import { orImageless } from "./image-refusal.ts";
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
  /** The fields that ask for an answer in a format; absent if the API has none. */
  readonly format?: (format: AnswerFormat) => Readonly<Record<string, unknown>>;
  /** The model can call tools when the request has a format of the answer. */
  readonly formatsWithTools?: boolean;
  /** Keeps what refusals teach. */
  readonly memory?: EntryMemory | undefined;
  /** The protocol refuses a body without a limit of output tokens. */
  readonly requiresLimit?: true;
  readonly onRefusal?: OnRefusal | undefined;
}

/**
 * Decides what a refusal means for later calls; `adapt` adapts their parameters, and returns whether it could.
 * Returns whether the next call differs. Without it, `adapt` decides.
 */
export type OnRefusal = (refusal: ModelError, adapt: () => boolean) => boolean;

/** One POST a call, answered by a stream of server-sent events or by one JSON document. */
export function createHttpProtocol(
  dialect: ProtocolDialect,
  entry: ModelEntry,
  fetch: Fetch,
): Protocol {
  const post = createPost(dialect, entry, fetch);
  return async function* ask(attempt) {
    const response = await post(attempt);
    const url = response.url || dialect.url;
    if (response.body === null) throw brokenOff(url);
    const answer = dialect.answer();
    const reader = new AnswerReader(response.body, answer, attempt);
    try {
      for (let text = await reader.next(); text !== undefined; text = await reader.next()) {
        yield text;
      }
    } catch (thrown) {
      const isOurs = thrown instanceof ModelError && thrown.kind !== "silent";
      if (isOurs || !answer.finished) {
        throw withUrl(errorFrom(thrown, "broken_off", attempt.signal), url);
      }
    } finally {
      await reader.close();
    }
    if (reader.isForeign) throw withUrl(foreignAnswer(), url);
    if (!reader.isAnnounced && !answer.finished) throw brokenOff(url);
    const rest = answer.end();
    if (rest !== "") yield rest;
    return answer.reply();
  };
}

function foreignAnswer(): ModelError {
  return new ModelError("garbled", "the answer is JSON, but no answer of this API");
}

function brokenOff(url: string): unknown {
  return withUrl(new ModelError("broken_off", "the stream ended before the answer did"), url);
}

/** A model error with the URL that was asked, without its query, which may hold secrets; all others as they are. */
function withUrl(thrown: unknown, url: string): unknown {
  if (!(thrown instanceof ModelError) || thrown.url !== undefined) return thrown;
  const { origin, pathname } = new URL(url);
  return thrown.at(origin + pathname);
}

/** Sends a call; throws the error of a response with another status than 200. */
function createPost(dialect: ProtocolDialect, entry: ModelEntry, fetch: Fetch) {
  const isSimple = entry.tool_schema_transform === "simple";
  /** By key; they are the same in each request. */
  const headersOf = new Map<string | undefined, Headers>();
  const formats = createFormatRefusals({
    isKnown: dialect.format !== undefined,
    withTools: dialect.formatsWithTools === true,
  });
  const adaptation = createAdaptation({
    entry,
    requiresLimit: dialect.requiresLimit === true,
    memory: dialect.memory,
    part: `adaptation ${new URL(dialect.url).pathname}`,
  });
  let urls = spellingsOf(dialect.url, entry.api_base);
  return async (attempt: Attempt): Promise<Response> => {
    const { key } = attempt;
    const call = attempt.call.format ? formats.apply(attempt.call) : attempt.call;
    const headers = headersOf.get(key) ?? requestHeaders(entry, dialect.headers(key));
    headersOf.set(key, headers);
    const full = dialect.body(isSimple ? { ...call, tools: call.tools.map(simplifyTool) } : call);
    const body = adaptation.apply(full);
    const { format } = call;
    const sent = format ? withFields(body, dialect.format?.(format)) : body;
    const text = wellFormedJson(sent);
    const outcome = await sendToFirst({ attempt, headers, text });
    if (!(outcome instanceof ModelError)) return outcome;
    const adapt = (): boolean => formats.learn(outcome, call) || adaptation.learn(outcome, body);
    if (!(dialect.onRefusal?.(outcome, adapt) ?? adapt())) throw outcome;
    const { message, url } = outcome;
    throw withUrl(new ModelError("parameter", message, { cause: outcome }), url ?? dialect.url);
  };

  /** Sends to the URL; if the server has no API there, once to its other spelling, and from then on to what works. */
  async function sendToFirst(request: PreparedRequest): Promise<Response | ModelError> {
    const [url = dialect.url, other] = urls;
    const outcome = await sendTo(url, request);
    const isMissing = outcome instanceof ModelError && outcome.kind === "wrong_path";
    if (!isMissing || other === undefined) return outcome;
    const second = await sendTo(other, request);
    const status = second instanceof ModelError ? (second.status ?? 0) : 200;
    const isFound = FOUND.has(status);
    if (status < 500) urls = [isFound ? other : url];
    return isFound ? second : outcome;
  }

  async function sendTo(url: string, request: PreparedRequest): Promise<Response | ModelError> {
    const response = await send(url, request, fetch);
    if (!response.ok) request.attempt.onActivity(REFUSAL_MS);
    const refusal = await (response.ok ? missingPathIn(response) : errorOf(response));
    if (refusal === undefined) return response;
    const { origin, pathname } = new URL(url);
    return orImageless(refusal, request.attempt.call).at(origin + pathname);
  }
}

/** Statuses of a server that has read the request: its URL is right. */
const FOUND: ReadonlySet<number> = new Set([200, 400, 402, 422, 429]);

/** A request without its URL. */
interface PreparedRequest {
  readonly attempt: Attempt;
  readonly headers: Headers;
  readonly text: string;
}

async function send(
  url: string,
  { attempt, headers, text }: PreparedRequest,
  fetch: Fetch,
): Promise<Response> {
  const { signal } = attempt;
  try {
    return await fetch(url, {
      method: "POST",
      headers,
      body: text,
      signal,
      // A redirected POST would lose its body, or send the key to another host.
      redirect: "manual",
      // Turns off Bun's limit of 5 minutes; the signal has the configured limit.
      timeout: false,
    });
  } catch (thrown) {
    throw withUrl(errorFrom(thrown, "unreachable", signal), url);
  } finally {
    attempt.onActivity();
  }
}

/** A URL under a configured base, and after it the same with `/v1`, or without it: the base may have it or not. */
function spellingsOf(url: string, base: string): readonly string[] {
  const { pathname } = new URL(url);
  const end = /\/(?:chat\/completions|responses|messages)$/.exec(pathname)?.[0];
  if (base.trim() === "" || end === undefined || pathname.includes("/deployments/")) return [url];
  const before = pathname.slice(0, -end.length);
  if (/\/v(?!1$)\d+$/.test(before)) return [url];
  const other = new URL(url);
  other.pathname = (before.endsWith("/v1") ? before.slice(0, -"/v1".length) : `${before}/v1`) + end;
  return [url, other.href];
}

/** The model error for a network error; a model error and the reason of an abort stay as they are. */
function errorFrom(thrown: unknown, kind: ModelErrorKind, signal: AbortSignal): unknown {
  if (thrown instanceof ModelError) return thrown;
  if (signal.aborted) return signal.reason;
  return new ModelError(kind, networkMessage(thrown), { cause: thrown });
}

/** The parts of the configuration for requests. */
export interface RequestSettings {
  readonly endpoint: Endpoint;
  readonly entry: ModelEntry;
  readonly defaults: Pick<AgentDefaults, "max_tokens" | "temperature">;
  /** Keeps what refusals teach; in memory only if left out. */
  readonly memory?: EntryMemory;
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
 * Reads a body into the builder of an answer, in either form: server-sent events (HTML standard, 9.2.6), cut
 * anywhere, or one JSON document. Reads nothing after `[DONE]`, or once the builder has ended.
 */
class AnswerReader {
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
