import type { EndedCall, EndedModelCall, EndedToolCall } from "../../base/contract.ts";
import { truncate } from "../../base/truncate.ts";
import type { Clock } from "../clock.ts";
import { finalOutcome } from "../request-log.ts";
import type { RequestRecord } from "../request-log.ts";
import { ANSWER_SECONDS, COMMIT_SECONDS, Histogram } from "./histogram.ts";
import { Minutes } from "./minutes.ts";

/** What became of the requests of one channel. */
export interface ChannelCounts {
  readonly outcomes: Map<string, number>;
  readonly duration: Histogram;
  readonly firstPart: Histogram;
}

export interface ModelCounts {
  readonly provider: string;
  calls: number;
  failed: number;
  tokensIn: number;
  tokensCached: number;
  tokensOut: number;
  cost: number;
}

interface ToolCounts {
  readonly tool: string;
  readonly verdict: string;
  calls: number;
  ms: number;
}

/** A request that has ended, as it is remembered. */
export interface EndedRequest {
  readonly number: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly channel: string;
  readonly client: string;
  readonly id: string | undefined;
  readonly outcome: string;
  readonly message: string | undefined;
  readonly queuedMs: number | undefined;
  readonly firstMs: number | undefined;
  readonly ms: number;
  readonly usage: RequestRecord["usage"];
  readonly tools: readonly EndedToolCall[];
  readonly question: string | undefined;
  readonly answer: string | undefined;
}

/** Requests that are remembered, tool calls of each, and UTF-16 units of a text and of a name. */
const RECENT = 100;
const TOOL_CALLS = 20;
const CONTENT = 2000;
const NAME = 128;
/** Models and tools that are counted by name. A new configuration can bring others; those share one row. */
const NAMES = 64;
const OTHERS = "(others)";

/**
 * Counts what a running gateway does, in memory that does not grow with its uptime: for `status`, the page and
 * `/metrics`. `statusOf` reads it.
 */
export class Statistics {
  readonly #clock: Pick<Clock, "epoch" | "now">;
  readonly #logContent: boolean;
  /** By channel. */
  readonly requests = new Map<string, ChannelCounts>();
  readonly models = new Map<string, ModelCounts>();
  readonly tools = new Map<string, ToolCounts>();
  readonly commits = new Histogram(COMMIT_SECONDS);
  readonly minutes = new Minutes();
  readonly #recent: EndedRequest[] = [];
  #numbers = 0;
  readonly #startedAt: number;

  constructor(clock: Pick<Clock, "epoch" | "now">, logContent: boolean) {
    this.#clock = clock;
    this.#logContent = logContent;
    this.#startedAt = clock.now();
  }

  /** Now, in milliseconds since the epoch, and the time since the start. */
  moment(): { readonly now: number; readonly uptimeMs: number } {
    return { now: this.#clock.epoch(), uptimeMs: this.#clock.now() - this.#startedAt };
  }

  /** The last requests, the newest first. */
  recent(): readonly EndedRequest[] {
    return this.#recent.toSorted((left, right) => right.number - left.number);
  }

  /** Counts a request that has ended. One that is one of many rejections is counted and not remembered. */
  readonly record = (entry: RequestRecord): void => {
    const { request, acceptedAt, delivery, duplicate, unlimited = false } = entry;
    const outcome = duplicate === undefined ? finalOutcome(entry) : "duplicate";
    const counts = this.count(request.channel, outcome);
    if (duplicate !== undefined || outcome === "resumable" || unlimited) return;
    const ms = this.#clock.now() - acceptedAt;
    const firstMs = delivery?.firstAt === undefined ? undefined : delivery.firstAt - acceptedAt;
    counts.duration.observe(ms / 1000);
    if (firstMs !== undefined) counts.firstPart.observe(firstMs / 1000);
    const { inputTokens = 0, outputTokens = 0 } = entry.usage ?? {};
    const isFailed = outcome !== "ok";
    const at = this.#clock.epoch();
    this.minutes.add(at, { isFailed, firstMs, answerMs: ms, tokens: inputTokens + outputTokens });
    this.#remember(entry, { at, outcome, firstMs, ms });
  };

  /** Counts a request by its outcome alone. */
  count(channel: string, outcome: string): ChannelCounts {
    let counts = this.requests.get(channel);
    if (counts === undefined) {
      counts = {
        outcomes: new Map(),
        duration: new Histogram(ANSWER_SECONDS),
        firstPart: new Histogram(ANSWER_SECONDS),
      };
      this.requests.set(channel, counts);
    }
    counts.outcomes.set(outcome, (counts.outcomes.get(outcome) ?? 0) + 1);
    return counts;
  }

  /** Counts a call of a turn. */
  readonly ended = (call: EndedCall): void => {
    if ("tool" in call) this.#toolEnded(call);
    else this.#modelEnded(call);
  };

  /** Counts a transaction of the store. */
  readonly committed = (ms: number): void => this.commits.observe(ms / 1000);

  #modelEnded({ name, provider, spent, error }: EndedModelCall): void {
    const key = keyIn(this.models, name);
    let model = this.models.get(key);
    if (model === undefined) {
      const nothing = { calls: 0, failed: 0, tokensIn: 0, tokensCached: 0, tokensOut: 0, cost: 0 };
      model = { provider: key === name ? provider : "", ...nothing };
      this.models.set(key, model);
    }
    model.calls += 1;
    if (error !== undefined) model.failed += 1;
    model.tokensIn += spent.inputTokens;
    model.tokensCached += spent.cachedTokens ?? 0;
    model.tokensOut += spent.outputTokens;
    model.cost += spent.cost;
  }

  #toolEnded({ tool, verdict, startedAt, endedAt }: EndedToolCall): void {
    const key = keyIn(this.tools, `${verdict} ${tool}`);
    let counts = this.tools.get(key);
    if (counts === undefined) {
      const isOther = key === OTHERS;
      counts = { tool: isOther ? OTHERS : tool, verdict: isOther ? "" : verdict, calls: 0, ms: 0 };
      this.tools.set(key, counts);
    }
    counts.calls += 1;
    counts.ms += endedAt - startedAt;
  }

  #remember(
    { request, startedAt, acceptedAt, failure, usage, calls = [], answer }: RequestRecord,
    facts: Pick<EndedRequest, "at" | "outcome" | "firstMs" | "ms">,
  ): void {
    const hasContent = this.#logContent;
    this.#numbers += 1;
    this.#recent[(this.#numbers - 1) % RECENT] = {
      ...facts,
      number: this.#numbers,
      channel: request.channel,
      client: shortened(request.client),
      id: request.id === undefined ? undefined : shortened(request.id),
      message: failure?.message,
      queuedMs: startedAt === undefined ? undefined : startedAt - acceptedAt,
      usage,
      tools: calls
        .filter((call) => "tool" in call)
        .slice(0, TOOL_CALLS)
        .map(withoutTexts),
      question: hasContent ? shortened(request.text, CONTENT) : undefined,
      answer: hasContent && answer ? shortened(answer.text, CONTENT) : undefined,
    };
  }
}

/** The texts are for traces alone. */
function withoutTexts({ tool, verdict, startedAt, endedAt }: EndedToolCall): EndedToolCall {
  return { tool, verdict, startedAt, endedAt };
}

function keyIn(rows: ReadonlyMap<string, unknown>, name: string): string {
  return rows.size < NAMES || rows.has(name) ? name : OTHERS;
}

/** The beginning of a text. It is a copy: a part of a text holds the whole, here a topic of up to 64 KB. */
function shortened(text: string, most = NAME): string {
  if (text.length <= most) return text;
  return Buffer.from(truncate(text, most), "utf16le").toString("utf16le");
}
