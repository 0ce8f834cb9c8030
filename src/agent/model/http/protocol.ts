import type { AnswerFormat } from "../../../base/contract.ts";
import { networkMessage } from "../../../base/network-error.ts";
import { VERSION } from "../../../base/version.ts";
import type { ModelEntry, AgentDefaults } from "../../../config/contract.ts";
import type { Attempt, Fetch, ModelCall, Protocol } from "../contract.ts";
import type { Endpoint } from "../endpoint.ts";
import { ModelError } from "../errors.ts";
import type { ModelErrorKind } from "../errors.ts";
import type { EntryMemory } from "../memory.ts";
import { simplifyTool } from "../schema.ts";
import { createAdaptation } from "./adaptation.ts";
import { AnswerReader } from "./answer-reader.ts";
import type { AnswerBuilder } from "./answer.ts";
import { errorOf, missingPathIn } from "./error-response.ts";
import { createFormatRefusals, withFields } from "./format-refusals.ts";
import { orImageless } from "./image-refusal.ts";
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
