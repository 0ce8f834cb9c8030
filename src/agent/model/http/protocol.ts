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
import { readChunks } from "./response-stream.ts";

/** Once the server said why the answer ends, only the usage and the mark of its end can follow. */
const ENDING_MS = 5_000;
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

/** One POST a question, answered by a stream of server-sent events or by one JSON document. */
export function createHttpProtocol(
  exchange: ProtocolDialect,
  entry: ModelEntry,
  fetch: Fetch,
): Protocol {
  return async function* ask(attempt) {
    const body = exchange.body(toldPlainly(attempt.call, entry));
    const response = await post(attempt, { exchange, entry, fetch, body });
    if (!response.ok) {
      attempt.onActivity(REFUSAL_MS);
      const refusal = await errorOf(response);
      if (exchange.adaptsTo?.(refusal, body) !== true) throw refusal;
      throw new ModelError("parameter", refusal.message, { cause: refusal });
    }
    const answer = exchange.answer();
    const whole = response.body === null ? false : yield* textOf(response.body, answer, attempt);
    if (!whole) throw new ModelError("broken_off", "the stream ended before the answer did");
    const rest = answer.end();
    if (rest !== "") yield rest;
    return answer.reply();
  };
}

interface Post {
  readonly exchange: ProtocolDialect;
  readonly entry: ModelEntry;
  readonly fetch: Fetch;
  readonly body: Readonly<Record<string, unknown>>;
}

async function post(attempt: Attempt, { exchange, entry, fetch, body }: Post): Promise<Response> {
  const headers = requestHeaders(entry, exchange.headers(attempt.key));
  try {
    return await fetch(exchange.url, {
      method: "POST",
      headers,
      body: wellFormedJson(body),
      signal: attempt.signal,
      // A redirected POST would lose its body, or carry the key to another host.
      redirect: "manual",
      // Bun's own limit of 5 minutes; the signal holds the one that is configured.
      timeout: false,
    });
  } catch (thrown) {
    throw faultOf(thrown, "unreachable", attempt.signal);
  } finally {
    attempt.onActivity();
  }
}

function toldPlainly(question: ModelCall, entry: ModelEntry): ModelCall {
  if (entry.tool_schema_transform !== "simple") return question;
  return { ...question, tools: question.tools.map(simplifyTool) };
}

/** Yields the text of a body; returns whether the server said that it is whole. */
async function* textOf(
  body: ReadableStream<Uint8Array>,
  answer: AnswerBuilder,
  attempt: Attempt,
): AsyncGenerator<string, boolean> {
  const { signal, onActivity } = attempt;
  let announced = false;
  try {
    for await (const chunk of readChunks(body, {
      signal,
      moved: onActivity,
      isEnded: () => answer.ended,
    })) {
      if (chunk === "done") {
        announced = true;
        continue;
      }
      attempt.onChunk();
      const text = answer.take(chunk.json);
      if (text !== "") yield text;
      if (chunk.whole) announced = true;
      else if (answer.finished) onActivity(ENDING_MS);
    }
  } catch (thrown) {
    const isOurs = thrown instanceof ModelError && thrown.kind !== "silent";
    if (isOurs || !answer.finished) throw faultOf(thrown, "broken_off", signal);
  }
  return announced || answer.finished;
}

/** What the network did, as a fault; a fault, or the reason of an abort, stays what it is. */
function faultOf(thrown: unknown, kind: ModelErrorKind, signal: AbortSignal): unknown {
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
