import { at, fromJson, listAt, textAt } from "../../../base/unknown.ts";
import { ModelError } from "../errors.ts";
import type { ModelErrorKind } from "../errors.ts";

/** Bytes of an error's body that are read. */
const MAX_BODY = 64 * 1024;

/** Messages of Ollama, vLLM and OpenRouter about a model without tool calls. */
const TOOLLESS =
  /not support (the )?(tool|function)|support tool use|tool choice requires|enable-auto-tool-choice|function calling is not (enabled|supported)/i;

/** Gemini answers a wrong key with a 400. */
const WRONG_KEY = /api[_ ]key[_ ](not valid|invalid|expired)/i;

/** Groq, Mistral, Qwen, LiteLLM, Bedrock and others answer a 400 with these words if the model does not exist (any more). */
const WRONG_MODEL =
  /model[_ ](?:not[_ ]found|decommissioned)|invalid_model|model_not_exist|invalid model name|model identifier is invalid/i;

/** OpenAI, Moonshot and Zhipu answer an empty account with a 429, Anthropic with a 400. A new try does not help. */
const NO_MONEY =
  /insufficient_quota|exceeded_current_quota|insufficient (?:account )?balance|credit balance is too low/i;

/** A 404 of a web server, or of an API that has no such path: nobody looked at the model. */
const WRONG_PATH =
  /^HTTP 404: (?:no details|an HTML page|not found|file not found|resource not found|(?:404 )?page not found)\W*$|invalid url|cannot post|no (?:such |matching )?route|(?:unknown|unexpected) (?:path|url|endpoint)/i;

/** Groq: the model wrote a call that its server could not read. The next try may succeed. */
const STUMBLED = /tool_use_failed|failed to call a function/i;

/** Proxy Authentication Required (RFC 9110, 15.5.8). */
const PROXY_REFUSES = 407;

/** The error of a response with another status than 200. Reads its body within a bound. */
export async function errorOf(response: Response): Promise<ModelError> {
  const { status } = response;
  if (status >= 300 && status < 400) {
    await response.body?.cancel();
    return new ModelError("garbled", `the server redirects (HTTP ${status})`, { status });
  }
  if (status === PROXY_REFUSES) {
    await response.body?.cancel();
    return new ModelError("unreachable", "the proxy refused the connection: HTTP 407", { status });
  }
  const words = await bodyOf(response);
  const body = jsonOf(words);
  const message = `HTTP ${status}: ${body === undefined ? shown(words) : messageIn(body)}`;
  return faultOf(status, message, {
    words: body === undefined ? message : `${message} ${codesIn(body)}`,
    retryAfter: retryAfterOf(response.headers) ?? retryDelayIn(body),
    parameter: textAt(at(body, "error"), "param") || undefined,
  });
}

/** Bytes of a body that is too short for an answer. */
const SHORT_BODY = 256;

/** The error of a short answer with status 200 that LM Studio gives for an unknown path; undefined for all others. */
export async function missingPathIn(response: Response): Promise<ModelError | undefined> {
  const length = Number(response.headers.get("content-length") ?? Number.NaN);
  if (Number.isNaN(length) || length > SHORT_BODY) return undefined;
  const words = await bodyOf(response.clone());
  if (!UNEXPECTED_PATH.test(words)) return undefined;
  await response.body?.cancel();
  return new ModelError("wrong_path", `HTTP ${response.status}: ${words}`, { status: 404 });
}

const UNEXPECTED_PATH = /^\{"error":\s*"Unexpected endpoint or method/;

/** The error in a chunk of a stream, or in a whole answer; undefined if there is none. */
export function errorIn(chunk: unknown): ModelError | undefined {
  const error = at(chunk, "error");
  const isError =
    (error !== undefined && error !== null) ||
    textAt(chunk, "object") === "error" ||
    textAt(chunk, "type") === "error";
  if (!isError) return undefined;
  const message = messageIn(chunk);
  return faultOf(statusOf(error ?? chunk), message, {
    words: `${message} ${codesIn(chunk)}`,
    retryAfter: retryDelayIn(chunk),
  });
}

interface ErrorFacts {
  /** The message and the error codes. */
  readonly words: string;
  readonly retryAfter: number | undefined;
  readonly parameter?: string | undefined;
}

function faultOf(
  code: number,
  message: string,
  { words, retryAfter, parameter }: ErrorFacts,
): ModelError {
  const status = meantBy(code, words);
  const isPath = status === 404 && WRONG_PATH.test(message);
  const kind = isPath ? "wrong_path" : kindOf(status, words);
  return new ModelError(kind, message, { status, retryAfter, parameter });
}

/** The status that the text of a 400 or a 429 means. */
function meantBy(status: number, words: string): number {
  if ((status === 400 || status === 429) && NO_MONEY.test(words)) return 402;
  if (status !== 400) return status;
  if (WRONG_KEY.test(words)) return 401;
  return WRONG_MODEL.test(words) ? 404 : 400;
}

function kindOf(status: number, words: string): ModelErrorKind {
  if (status === 400 && STUMBLED.test(words)) return "broken_off";
  if (isOverflow(status, words)) return "overflow";
  return status < 500 && TOOLLESS.test(words) ? "toolless" : "refused";
}

async function bodyOf(response: Pick<Response, "body">): Promise<string> {
  if (response.body === null) return "";
  const decoder = new TextDecoder();
  let [words, bytes] = ["", 0];
  try {
    for await (const piece of response.body) {
      bytes += piece.byteLength;
      words += decoder.decode(piece.subarray(0, MAX_BODY), { stream: true });
      if (bytes >= MAX_BODY) break;
    }
  } catch {
    // The status is enough; an incomplete body only has fewer details.
  }
  return words.trim();
}

function jsonOf(words: string): unknown {
  try {
    return fromJson(words);
  } catch {
    return undefined;
  }
}

function shown(words: string): string {
  if (words === "") return "no details";
  return words.startsWith("<") ? "an HTML page" : words;
}

/** The message in an error body, whose shape differs between providers. */
function messageIn(written: unknown): string {
  // Without events Gemini puts its error into a list.
  const body: unknown = Array.isArray(written) ? written[0] : written;
  const error = at(body, "error");
  const message =
    textAt(error, "message") ||
    textAt(body, "error") ||
    textAt(body, "message") ||
    textAt(body, "Message") ||
    textAt(body, "detail");
  if (message === "") return JSON.stringify(error ?? at(body, "detail") ?? body ?? null);
  const reason = forwardedIn(error);
  return reason === "" ? message : `${message}: ${reason}`;
}

/** The error of the provider behind OpenRouter, with the provider's name; "" if there is none. */
function forwardedIn(error: unknown): string {
  const metadata = at(error, "metadata");
  const raw = at(metadata, "raw");
  if (raw === undefined || raw === null || raw === "") return "";
  const words = typeof raw === "string" ? raw : JSON.stringify(raw);
  const body = jsonOf(words);
  const isObject = typeof body === "object" && body !== null;
  const reason = isObject ? messageIn(body) : shown(words);
  const provider = textAt(metadata, "provider_name");
  return provider === "" ? reason : `${provider}: ${reason}`;
}

function codesIn(written: unknown): string {
  const body: unknown = Array.isArray(written) ? written[0] : written;
  const error = at(body, "error") ?? body;
  const reasons = listAt(error, "details").map((detail) => textAt(detail, "reason"));
  return [textAt(error, "code"), textAt(error, "type"), textAt(error, "status"), ...reasons].join(
    " ",
  );
}

/** The status for an error's name; the first match counts. */
const NAMED_STATUSES: readonly (readonly [RegExp, number])[] = [
  [/rate_?limit|throttl|too_many|resource_exhausted/i, 429],
  [/overloaded|unavailable/i, 529],
  [/timeout|deadline/i, 504],
  [/authenticat|api_key/i, 401],
  [/billing|quota/i, 402],
  [/permission|access_?denied/i, 403],
  [/not_?found/i, 404],
  [/too_large/i, 413],
  [/invalid|validation|auth|context|precondition/i, 400],
];

/** Errors inside a stream have no status; their code or type is often a number or a name. */
function statusOf(error: unknown): number {
  const number = Number(at(error, "code") ?? at(error, "status"));
  if (Number.isInteger(number) && number >= 400 && number < 600) return number;
  const words = codesIn({ error });
  return NAMED_STATUSES.find(([pattern]) => pattern.test(words))?.[1] ?? 500;
}

/** Seconds (RFC 9110, 10.2.3: a number or a date), or the milliseconds that some providers send in addition. */
function retryAfterOf(headers: Headers): number | undefined {
  const milliseconds = Number(headers.get("retry-after-ms") ?? Number.NaN);
  if (milliseconds >= 0) return milliseconds / 1000;
  const written = headers.get("retry-after")?.trim() ?? "";
  if (written === "") return undefined;
  const seconds = Number(written);
  const wait = Number.isNaN(seconds) ? (Date.parse(written) - Date.now()) / 1000 : seconds;
  return Number.isFinite(wait) ? Math.max(0, wait) : undefined;
}

/** Seconds, from Gemini's error: `"retryDelay": "23s"`. */
function retryDelayIn(written: unknown): number | undefined {
  const body: unknown = Array.isArray(written) ? written[0] : written;
  const delays = listAt(at(body, "error"), "details").map((detail) => textAt(detail, "retryDelay"));
  const seconds = delays.map((delay) => /^(\d+(?:\.\d+)?)s$/.exec(delay)?.[1]);
  const first = seconds.find((found) => found !== undefined);
  return first === undefined ? undefined : Number(first);
}

/**
 * Providers' messages about a conversation that is too long; there is no common code. By line: OpenAI, LiteLLM and
 * compatible servers, Anthropic, Gemini, Moonshot and xAI, vLLM and Mistral, Ollama and llama.cpp, LM Studio,
 * Qwen and Zhipu.
 */
const WORDS = [
  /context_length_exceeded|exceeds? the context (?:window|length)|context_?window_?exceeded/,
  /prompt is too long|input is too long|exceed context limit|request_too_large/,
  /exceeds the maximum number of tokens/,
  /exceeded model token limit|maximum prompt length is/,
  /maximum context length|maximum model length|max_model_len/,
  /exceed_context_size|exceeds the available context size|prompt too long|max context length/,
  /greater than the context length|context length of only|context the overflows/,
  /range of input length|input token length too long|prompt exceeds max length|context window exceeds/,
];

/** Statuses with another meaning: a limit of tokens a minute has similar messages. */
const OTHERWISE: ReadonlySet<number> = new Set([401, 402, 403, 404, 408, 429]);

/** Whether an error says that the conversation is too long for the model. */
function isOverflow(status: number, words: string): boolean {
  if (status === 413) return true;
  return !OTHERWISE.has(status) && WORDS.some((pattern) => pattern.test(words.toLowerCase()));
}
