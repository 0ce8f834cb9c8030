import type {
  Allowance,
  EndedCall,
  Limits,
  Spent,
  ToolTexts,
  UsageStatus,
} from "../../base/contract.ts";
import { Failure } from "../../base/failure.ts";
import type { DayCount } from "../../store/contract/counters.ts";
import { countsOf, dayCount } from "../../store/day-counts.ts";
import { failureOf } from "../errors.ts";
import type { AccountCache } from "./account-cache.ts";
import { secondsLeftOf, tokensOf, usedUpBudget } from "./account.ts";
import type { DayName, Holder } from "./account.ts";

/** An account and its limits. */
export interface LimitScope {
  readonly name: string;
  readonly holder: Holder;
  readonly limits: Limits;
}

/** The client's scope is the first. */
export type Scopes = readonly [LimitScope, ...LimitScope[]];

/** Whether there is a daily limit of tokens or cost. */
export function hasBudget({ tokens_per_day: tokens, cost_per_day: cost }: Limits): boolean {
  return tokens > 0 || cost > 0;
}

/** Returns the failure when one of the scopes has used up its budget of today. */
export function overBudget(scopes: Scopes, cache: AccountCache): Failure | undefined {
  const { today, epoch } = cache.moment();
  for (const { name, holder, limits } of scopes) {
    if (!hasBudget(limits)) continue;
    const why = usedUpBudget(countsOf(cache.find(name)?.days ?? [], today.day), limits);
    if (why === undefined) continue;
    const { code, message } = failureOf("budget");
    const retryAfter = secondsLeftOf(today, epoch);
    return new Failure(code, message, { retryAfter, why: `${why} of ${wholeOf(holder)}` });
  }
  return undefined;
}

function wholeOf({ channel, client }: Holder): string {
  if (channel === undefined) return "the whole gateway";
  return client === undefined ? "the whole channel" : "the client";
}

interface AllowanceOptions {
  readonly scopes: Scopes;
  readonly cache: AccountCache;
  /** Called when usage was counted. */
  readonly save: () => void;
  /** Called with each call of a model or a tool at its end. */
  readonly ended: (call: EndedCall) => void;
  /** Redacts and bounds the texts of tool calls; none are kept without it. */
  readonly traceText?: ((text: string) => string) | undefined;
}

/** Calls of one turn that are listed. */
const LISTED = 128;

/**
 * The budget of one turn and all that it starts. A model call that starts within the budget runs to its end,
 * so a turn exceeds the budget by the running calls at most.
 */
export class TurnAllowance implements Allowance {
  readonly #options: AllowanceOptions;
  /** What the turn has used so far. */
  readonly spent = { inputTokens: 0, outputTokens: 0, cachedTokens: 0, cost: 0 };
  /** The fewest that a scope allows; 0 is no limit. */
  #mostCalls = 0;
  #calls = 0;
  /** The first calls of models and tools, in the order of their ends. */
  calls: EndedCall[] | undefined;

  constructor(options: AllowanceOptions) {
    this.#options = options;
    for (const { limits } of options.scopes) {
      const most = limits.tool_calls_per_turn;
      if (most > 0) this.#mostCalls = Math.min(most, this.#mostCalls || most);
    }
  }

  begin(expected: Spent): (more: Spent) => void {
    const { scopes, cache } = this.#options;
    const failure = overBudget(scopes, cache);
    if (failure !== undefined) throw failure;
    // The difference is counted on the day of the call.
    const { day } = cache.moment().today;
    this.#count(day, expected);
    return (more) => this.#count(day, more);
  }

  #count(day: DayName, more: Spent): void {
    const { scopes, cache, save } = this.#options;
    const { spent } = this;
    // Not below 0, because of rounding.
    spent.inputTokens = Math.max(0, spent.inputTokens + more.inputTokens);
    spent.outputTokens = Math.max(0, spent.outputTokens + more.outputTokens);
    spent.cost = Math.max(0, spent.cost + more.cost);
    spent.cachedTokens += more.cachedTokens ?? 0;
    const counts = dayCount(day, more);
    for (const { name, holder, limits } of scopes) {
      cache.count(name, holder, { counts, limited: hasBudget(limits) });
    }
    save();
  }

  takeCall(): boolean {
    if (this.#mostCalls > 0 && this.#calls >= this.#mostCalls) return false;
    this.#calls += 1;
    return true;
  }

  ended(call: EndedCall, texts?: ToolTexts): void {
    this.calls ??= [];
    if (this.calls.length < LISTED) this.calls.push(this.#withTexts(call, texts));
    this.#options.ended(call);
  }

  #withTexts<Call extends object>(call: Call, texts: ToolTexts | undefined): Call {
    const { traceText } = this.#options;
    if (traceText === undefined || texts === undefined) return call;
    const [given, result] = [traceText(texts.arguments), traceText(texts.result)];
    return { ...call, texts: { arguments: given, result } };
  }

  status(): UsageStatus {
    const { scopes, cache } = this.#options;
    const { today, epoch } = cache.moment();
    const [{ name, limits }] = scopes;
    const usedOf = (account: string): DayCount =>
      countsOf(cache.find(account)?.days ?? [], today.day);
    const used = usedOf(name);
    return {
      tokensToday: tokensOf(used),
      tokensPerDay: limits.tokens_per_day,
      costToday: used.cost,
      costPerDay: limits.cost_per_day,
      requestsPerMinute: limits.requests_per_minute,
      burst: limits.burst,
      toolCallsPerTurn: this.#mostCalls,
      secondsLeft: secondsLeftOf(today, epoch),
      droppedToday: scopes.reduce(
        (sum, scope) => sum + (usedOf(scope.name).refused["dropped"] ?? 0),
        0,
      ),
    };
  }
}
