import { messageOf } from "../../../base/failure.ts";
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
