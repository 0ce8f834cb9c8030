import type { Failure, FailureCode } from "../base/failure.ts";
import type { Log, LogFields } from "../base/log.ts";
import { truncate } from "../base/truncate.ts";
import type { Delivery } from "./answer/answer-stream.ts";
import type { AnswerStream } from "./answer/answer-stream.ts";
import type { Clock } from "./clock.ts";
import type { Request, Turned } from "./contract.ts";

/** What became of one request. */
export interface RequestRecord {
  readonly request: Request;
  /** On the clock: when it came, and when its turn began. */
  readonly acceptedAt: number;
  readonly startedAt?: number | undefined;
  /** `ok`, the code of the error it was answered with, or that it needed no answer of its own. */
  readonly outcome: FailureCode | "ok" | "duplicate" | "kept";
  /** Which attempt at the turn it was, where more than one can be. */
  readonly attempt?: number | undefined;
  /** The request was known already: its answer goes to one more address, or was sent once more. */
  readonly duplicate?: "ignored" | "joined" | "repeated";
  /** No limit holds how often this happens: it is told at the level whose lines are thinned. */
  readonly unlimited?: boolean;
  /** The failure with all its facts. */
  readonly failure?: Failure | undefined;
  /** The turn was told to stop, did not, and was left behind. */
  readonly abandoned?: boolean | undefined;
  /** Refusals of this client since the last line about one, of which there was none. */
  readonly suppressed?: number;
  readonly usage?: (Turned<unknown>["usage"] & { readonly cost?: number }) | undefined;
  readonly delivery?: Delivery | undefined;
  /** False where the delivery was still under way when the gateway gave it up. */
  readonly delivered?: boolean;
  /** For a log that keeps content. */
  readonly answer?: AnswerStream;
}

/** Writes one line a request, and none of what was said unless `logContent`. */
export function createRequestLog(
  log: Log,
  clock: Pick<Clock, "now">,
  logContent: boolean,
): (entry: RequestRecord) => void {
  return (entry) => {
    const fields = { ...factsOf(entry, clock.now()), ...(logContent ? contentOf(entry) : {}) };
    if (entry.outcome === "kept") {
      log.info("kept for the next start", fields);
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

/** Characters of a text in the log: enough to recognise it. */
const CONTENT = 2000;
const NAME = 128;

function factsOf(entry: RequestRecord, now: number) {
  const { request, failure } = entry;
  return {
    id: request.id === undefined ? undefined : truncate(request.id, NAME),
    ...clientFields(request),
    outcome: entry.outcome,
    duplicate: entry.duplicate,
    attempt: (entry.attempt ?? 0) > 1 ? entry.attempt : undefined,
    ...courseOf(entry, now),
    tokens_in: entry.usage?.inputTokens,
    tokens_out: entry.usage?.outputTokens,
    cost: rounded(entry.usage?.cost),
    retry_after: failure?.retryAfter,
    why: failure?.why,
    remedy: failure?.remedy,
    abandoned: entry.abandoned || undefined,
    passed_over: entry.suppressed || undefined,
  } satisfies LogFields;
}

/** Money to six digits after the point; undefined where there was none to pay. */
function rounded(cost = 0): number | undefined {
  return Number(cost.toFixed(6)) || undefined;
}

/** Who asked, short enough for a line. */
export function clientFields({ channel, client }: Request): LogFields {
  return { channel, client: truncate(client, NAME) };
}

/** Milliseconds are from the request's coming: to its turn, its first part, its last part's delivery. */
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
