import type { EndedCall } from "../base/contract.ts";
import type { Failure, FailureCode } from "../base/failure.ts";
import type { Log, LogFields } from "../base/log.ts";
import { truncate } from "../base/truncate.ts";
import type { AnswerStream, Delivery } from "./answer/answer-stream.ts";
import type { Clock } from "./clock.ts";
import type { Request, Turned } from "./contract.ts";
import { isPush } from "./request-keys.ts";

/** What happened to one request. */
export interface RequestRecord {
  readonly request: Request;
  /** On the clock: when the request arrived, and when its turn started. */
  readonly acceptedAt: number;
  readonly startedAt?: number | undefined;
  /** `ok`, an error code, `duplicate` (no answer of its own), or `kept` (left to the next start). */
  readonly outcome: FailureCode | "ok" | "duplicate" | "resumable";
  /** The number of the attempt; only durable requests have attempts. */
  readonly attempt?: number | undefined;
  /** For a known request: its answer goes to no, to one more, or again to the same address. */
  readonly duplicate?: "ignored" | "joined" | "repeated" | undefined;
  /** Not rate-limited, so it is logged at debug, which the log samples. */
  readonly unlimited?: boolean | undefined;
  /** The failure with all facts. */
  readonly failure?: Failure | undefined;
  /** The turn was cancelled and did not end in time: it may still run. */
  readonly abandoned?: boolean | undefined;
  /** Rejections of this client that were not logged since the last logged one. */
  readonly suppressed?: number | undefined;
  readonly usage?: (Turned<unknown>["usage"] & { readonly cost?: number }) | undefined;
  /** The calls of models and tools, in the order of their ends; absent if there were none. */
  readonly calls?: readonly EndedCall[] | undefined;
  readonly delivery?: Delivery | undefined;
  /** False when the gateway abandoned the delivery at shutdown. */
  readonly delivered?: boolean;
  /** Logged only with `logContent`. */
  readonly answer?: AnswerStream;
}

/** Logs one line per request; the texts of question and answer only with `logContent`. */
export function createRequestLog(
  log: Log,
  clock: Pick<Clock, "now">,
  logContent: boolean,
): (entry: RequestRecord) => void {
  return (entry) => {
    const fields = { ...factsOf(entry, clock.now()), ...(logContent ? contentOf(entry) : {}) };
    if (entry.outcome === "resumable") {
      log.info("left to the next start", fields);
      return;
    }
    const { level, message } = lineOf(entry);
    log[level](message, fields);
    const stack = entry.failure && stackOf(entry.failure);
    if (stack !== undefined) log.debug("request failed at", { id: fields.id, stack });
  };
}

function lineOf({ outcome, delivered, delivery, unlimited = false }: RequestRecord): {
  readonly level: "debug" | "info" | "warn";
  readonly message: string;
} {
  const level = unlimited ? "debug" : undefined;
  if (delivered === false || delivery?.failure !== undefined) {
    return { level: level ?? "warn", message: "answer not delivered" };
  }
  if (outcome === "ok") return { level: level ?? "info", message: "answered" };
  if (outcome === "duplicate") return { level: level ?? "info", message: "duplicate" };
  return { level: level ?? "warn", message: "request failed" };
}

function stackOf(failure: Failure): string | undefined {
  if (failure.cause instanceof Error) return failure.cause.stack;
  return failure.code === "internal" ? failure.stack : undefined;
}

/** UTF-16 units of a text in the log. */
const CONTENT = 2000;
const NAME = 128;

function factsOf(entry: RequestRecord, now: number) {
  const { request, failure } = entry;
  return {
    id: request.id === undefined ? undefined : truncate(request.id, NAME),
    ...clientFields(request),
    push: isPush(request) || undefined,
    outcome: finalOutcome(entry),
    duplicate: entry.duplicate,
    attempt: (entry.attempt ?? 0) > 1 ? entry.attempt : undefined,
    ...courseOf(entry, now),
    ...usedIn(entry),
    retry_after: failure?.retryAfter,
    why: failure?.why,
    remedy: failure?.remedy,
    abandoned: entry.abandoned || undefined,
    passed_over: entry.suppressed || undefined,
  } satisfies LogFields;
}

/**
 * What became of a request, in the log, the statistics and the traces alike. An answer that did not reach its client
 * is `refused` if the broker refuses it (PUBACK or PUBREC with an error), and `undelivered` otherwise.
 */
export function finalOutcome({ outcome, delivery, delivered }: RequestRecord): string {
  if (outcome !== "ok") return outcome;
  if (delivery?.failure?.code === "refused") return "refused";
  return delivery?.failure !== undefined || delivered === false ? "undelivered" : outcome;
}

function usedIn({ usage }: RequestRecord): LogFields {
  return {
    tokens_in: usage?.inputTokens,
    tokens_cached: usage?.cachedTokens || undefined,
    tokens_out: usage?.outputTokens,
    cost: rounded(usage?.cost),
  };
}

/** Cost, rounded to six decimals; undefined when it is 0. */
function rounded(cost = 0): number | undefined {
  return Number(cost.toFixed(6)) || undefined;
}

/** Channel and client, shortened. */
export function clientFields({ channel, client }: Request): LogFields {
  return { channel, client: truncate(client, NAME) };
}

/** Milliseconds since the request arrived: until its turn, its first part, the delivery of its last part. */
function courseOf(
  { acceptedAt, startedAt, delivery, delivered }: RequestRecord,
  now: number,
): LogFields {
  const since = (at: number | undefined) =>
    at === undefined ? undefined : Math.round(at - acceptedAt);
  return {
    queued_ms: since(startedAt),
    first_ms: since(delivery?.firstAt),
    last_ms: delivery === undefined || delivered === false ? undefined : since(now),
    parts: delivery?.parts,
    undelivered: delivery?.failure?.message,
    undelivered_why: delivery?.failure?.why,
  };
}

function contentOf({ request, answer }: RequestRecord): LogFields {
  return {
    question: truncate(request.text, CONTENT),
    answer: answer && truncate(answer.text, CONTENT),
  };
}
