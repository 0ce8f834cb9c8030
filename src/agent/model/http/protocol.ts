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
import { createAnswerReader } from "./response-stream.ts";

/** The status says enough: an error's body is not waited for as long as an answer. */
const REFUSAL_MS = 5_000;

/** What one dialect puts into a request and makes of its answer; all else is the same for all of them. */
export interface ProtocolDialect {
  readonly url: string;
  /** The headers that only this dialect sends, the key among them. */
  readonly headers: (key: string | undefined) => Readonly<Record<string, string>>;
  /** The body of one request; what `extra_body` holds is in it and wins. */
  readonly body: (question: ModelCall) => Readonly<Record<string, unknown>>;
  readonly answer: () => AnswerBuilder;
  /** Whether later bodies are without what of this one was refused, so that the question is asked again. */
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

/** Sends a call; throws the error that a response with another status than 200 tells of. */
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
      // A redirected POST would lose its body, or carry the key to another host.
      redirect: "manual",
      // Bun's own limit of 5 minutes; the signal holds the one that is configured.
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

/** What the network did, as a fault; a fault, or the reason of an abort, stays what it is. */
function errorFrom(thrown: unknown, kind: ModelErrorKind, signal: AbortSignal): unknown {
  if (thrown instanceof ModelError) return thrown;
  if (signal.aborted) return signal.reason;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new ModelError(kind, message, { cause: thrown });
}

/** What of the configuration goes into a request. */
export interface RequestSettings {
  readonly endpoint: Endpoint;
  readonly entry: ModelEntry;
  readonly defaults: Pick<AgentDefaults, "max_tokens" | "temperature">;
}

/** The headers of one request: the dialect's own on top of everyone's; those of `custom_headers` win. */
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
