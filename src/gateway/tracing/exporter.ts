import { pause, settlesWithin } from "../../base/async.ts";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { VERSION } from "../../base/version.ts";
import type { RequestRecord } from "../request-log.ts";
import { spansOf } from "./spans.ts";
import type { Span } from "./spans.ts";

export interface TracingOptions {
  /** Where OTLP/HTTP takes traces, with its path. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly service: string;
  /** Milliseconds for one request. */
  readonly timeoutMs: number;
  /** Agent ids by channel. */
  readonly agents: ReadonlyMap<string, string>;
  readonly log: Log;
  /** Redacts and bounds a text for a span; spans have no texts without it. */
  readonly textOf?: (text: string) => string;
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
  /** Milliseconds for what waits at the end of the program. */
  readonly lastMs?: number;
  /** Milliseconds until spans leave, and the first wait after a failure. */
  readonly everyMs?: number;
  readonly retryMs?: number;
}

/** Spans that wait, without texts and with them, and those of one request. */
const WAITING = 4096;
const WITH_TEXTS = 1024;
const AT_ONCE = 512;
const EVERY_MS = 5000;
const RETRY_MS = 1000;
const TRIES = 4;
const LOG_EVERY_MS = 60_000;
const LAST_MS = 2000;
/** The answers after which the OTLP specification has the request sent again. */
const RETRYABLE: ReadonlySet<number> = new Set([429, 502, 503, 504]);

/**
 * Sends the spans of turns to a collector (OTLP/HTTP, JSON): in batches and in the background. What cannot be sent in
 * time, or is more than fits, is dropped and counted: a turn never waits for it.
 */
export class TraceExporter {
  readonly #options: TracingOptions;
  readonly textOf: TracingOptions["textOf"];
  readonly #closing = new AbortController();
  #waiting: Span[] = [];
  #sending: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Spans that were dropped. */
  dropped = 0;
  #loggedAt = Number.NEGATIVE_INFINITY;

  constructor(options: TracingOptions) {
    this.#options = options;
    this.textOf = options.textOf;
  }

  /** Takes a request that has ended. Does not throw. */
  readonly record = (entry: RequestRecord): void => {
    if (this.#closing.signal.aborted) return;
    const endedAt = performance.now();
    const agent = this.#options.agents.get(entry.request.channel) ?? "";
    const { textOf } = this;
    const spans = spansOf(entry, { agent, endedAt, origin: Date.now() - endedAt, textOf });
    const most = textOf === undefined ? WAITING : WITH_TEXTS;
    if (this.#waiting.length + spans.length > most) this.#drop(spans.length, "too many wait");
    else this.#waiting.push(...spans);
    if (this.#waiting.length >= AT_ONCE) void this.#flush();
    else if (this.#waiting.length > 0) this.#startTimer();
  };

  /** Sends what waits, within two seconds. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await settlesWithin(this.#flush(), this.#options.lastMs ?? LAST_MS);
    this.#closing.abort();
    await this.#sending;
  }

  #startTimer(): void {
    this.#timer ??= setTimeout(() => void this.#flush(), this.#options.everyMs ?? EVERY_MS);
  }

  #flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined;
    });
    return this.#sending;
  }

  async #sendAll(): Promise<void> {
    while (this.#waiting.length > 0) await this.#send(this.#waiting.splice(0, AT_ONCE));
  }

  async #send(spans: readonly Span[]): Promise<void> {
    const { retryMs = RETRY_MS } = this.#options;
    const { signal } = this.#closing;
    const body = JSON.stringify(requestOf(spans, this.#options.service));
    let why = "";
    for (let tries = 0; tries < TRIES && !signal.aborted; tries += 1) {
      if (tries > 0) await pause(retryMs * 2 ** (tries - 1), signal).catch(() => {});
      const outcome = await this.#post(body);
      if (outcome === "sent") return;
      ({ why } = outcome);
      if (!outcome.again) break;
    }
    this.#drop(spans.length, why);
  }

  async #post(body: string): Promise<"sent" | { readonly why: string; readonly again: boolean }> {
    const { url, headers, timeoutMs, fetch = globalThis.fetch } = this.#options;
    const signal = AbortSignal.any([AbortSignal.timeout(timeoutMs), this.#closing.signal]);
    try {
      const response = await fetch(url, {
        method: "POST",
        headers: { ...headers, "content-type": "application/json" },
        body,
        signal,
        redirect: "error",
      });
      await response.body?.cancel();
      if (response.ok) return "sent";
      return { why: `the answer was ${response.status}`, again: RETRYABLE.has(response.status) };
    } catch (thrown) {
      return { why: asFailure(thrown).why ?? "the collector cannot be reached", again: true };
    }
  }

  #drop(spans: number, why: string): void {
    this.dropped += spans;
    if (spans === 0 || performance.now() - this.#loggedAt < LOG_EVERY_MS) return;
    this.#loggedAt = performance.now();
    this.#options.log.warn("spans of turns were dropped", { why, dropped: this.dropped });
  }
}

function named(key: string, stringValue: string): object {
  return { key, value: { stringValue } };
}

function requestOf(spans: readonly Span[], service: string): object {
  return {
    resourceSpans: [
      {
        resource: {
          attributes: [named("service.name", service), named("service.version", VERSION)],
        },
        scopeSpans: [{ scope: { name: "picoclaw", version: VERSION }, spans }],
      },
    ],
  };
}
