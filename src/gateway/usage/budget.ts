import type { Allowance, Limits, Spent, UsageStatus } from "../../base/contract.ts";
import { Failure } from "../../base/failure.ts";
import { truncate } from "../../base/truncate.ts";
import type { ChannelPolicy } from "../channel-policy.ts";
import type { Request } from "../contract.ts";
import { failureOf } from "../errors.ts";
import { laneOf } from "../request-keys.ts";
import type { AccountCache } from "./account-cache.ts";
import { countOf, lookedUp, secondsLeftOf, tokensOf } from "./account.ts";
import type { Account, DayCount, DayName, Holder, Today } from "./account.ts";

export interface AllowanceOptions {
  /** The client's scope is the first. */
  readonly scopes: readonly [LimitScope, ...LimitScope[]];
  readonly cache: Pick<AccountCache, "find" | "update">;
  readonly at: () => { readonly today: Today; readonly epoch: number };
  readonly save: () => void;
}

/**
 * The budget of one turn and all that it starts. A model call that starts within the budget runs to its end,
 * so a turn exceeds the budget by the running calls at most.
 */
export function createAllowance(options: AllowanceOptions): Allowance & { readonly spent: Spent } {
  const { scopes, cache, at } = options;
  const mostCalls = fewestCalls(scopes);
  const spent = { inputTokens: 0, outputTokens: 0, cost: 0 };
  let calls = 0;

  const count = (day: DayName, more: Spent): void => {
    add(spent, more);
    for (const { name, holder, limits } of scopes) {
      const apply = (account: Account): void => add(countOf(account.days, day), more);
      cache.update(name, holder, { apply, limited: hasBudget(limits) });
    }
    options.save();
  };

  return {
    spent,
    begin(expected) {
      const failure = overBudget(scopes, cache, at());
      if (failure !== undefined) throw failure;
      // The difference is counted on the day of the call.
      const { day } = at().today;
      count(day, expected);
      return (more) => count(day, more);
    },
    takeCall() {
      if (mostCalls > 0 && calls >= mostCalls) return false;
      calls += 1;
      return true;
    },
    status: () => statusOf(options, mostCalls),
  };
}

/** Clamps at 0, because of rounding. */
function add(to: { -readonly [Key in keyof Spent]: number }, more: Spent): void {
  to.inputTokens = Math.max(0, to.inputTokens + more.inputTokens);
  to.outputTokens = Math.max(0, to.outputTokens + more.outputTokens);
  to.cost = Math.max(0, to.cost + more.cost);
}

function fewestCalls(scopes: readonly LimitScope[]): number {
  const limits = scopes.map((scope) => scope.limits.tool_calls_per_turn).filter((most) => most > 0);
  return limits.length === 0 ? 0 : Math.min(...limits);
}

function statusOf({ scopes, cache, at }: AllowanceOptions, mostCalls: number): UsageStatus {
  const { today, epoch } = at();
  const [{ name, limits }] = scopes;
  const used = lookedUp(cache.find(name)?.days ?? [], today.day);
  return {
    tokensToday: tokensOf(used),
    tokensPerDay: limits.tokens_per_day,
    costToday: used.cost,
    costPerDay: limits.cost_per_day,
    requestsPerMinute: limits.requests_per_minute,
    burst: limits.burst,
    toolCallsPerTurn: mostCalls,
    secondsLeft: secondsLeftOf(today, epoch),
    droppedToday: scopes
      .map((scope) => lookedUp(cache.find(scope.name)?.days ?? [], today.day))
      .reduce((sum, { refused }) => sum + (refused["dropped"] ?? 0), 0),
  };
}

/** An account and its limits. */
export interface LimitScope {
  readonly name: string;
  readonly holder: Holder;
  readonly limits: Limits;
}

/** The name of the gateway's account. */
export const GATEWAY = "gateway";

/** The name of a channel's account; no lane has such a name. */
export function nameOfChannel(channel: string): string {
  return `total ${channel}`;
}

const LONGEST_CLIENT = 128;

export function holderOf({ channel, client }: Pick<Request, "channel" | "client">): Holder {
  return { channel, client: truncate(client, LONGEST_CLIENT) };
}

/** The scopes that a request counts for: its client, its channel and the gateway. */
export function scopesOf(
  request: Request,
  { limits, totalLimits }: ChannelPolicy,
  gateway: Limits,
): readonly [LimitScope, ...LimitScope[]] {
  const { channel } = request;
  return [
    { name: laneOf(request), holder: holderOf(request), limits },
    { name: nameOfChannel(channel), holder: { channel }, limits: totalLimits },
    { name: GATEWAY, holder: {}, limits: gateway },
  ];
}

/** Whether there is a daily limit of tokens or cost. */
export function hasBudget({ tokens_per_day: tokens, cost_per_day: cost }: Limits): boolean {
  return tokens > 0 || cost > 0;
}

/** Returns the failure when one of the scopes has used up its budget of today. */
export function overBudget(
  scopes: readonly LimitScope[],
  accounts: Pick<AccountCache, "find">,
  { today, epoch }: { readonly today: Today; readonly epoch: number },
): Failure | undefined {
  for (const { name, holder, limits } of scopes) {
    if (!hasBudget(limits)) continue;
    const why = usedUp(lookedUp(accounts.find(name)?.days ?? [], today.day), limits);
    if (why === undefined) continue;
    const { code, message } = failureOf("budget");
    const retryAfter = secondsLeftOf(today, epoch);
    return new Failure(code, message, { retryAfter, why: `${why} of ${wholeOf(holder)}` });
  }
  return undefined;
}

/** The used up budget, for the log. */
function usedUp(used: DayCount, limits: Limits): string | undefined {
  const { tokens_per_day: tokens, cost_per_day: cost } = limits;
  if (tokens > 0 && tokensOf(used) >= tokens) return `tokens_per_day (${tokens})`;
  return cost > 0 && used.cost >= cost ? `cost_per_day (${cost})` : undefined;
}

function wholeOf({ channel, client }: Holder): string {
  if (channel === undefined) return "the whole gateway";
  return client === undefined ? "the whole channel" : "the client";
}
