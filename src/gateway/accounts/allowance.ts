import type { Allowance, Spent, UsageStatus } from "../../base/contract.ts";
import type { AccountCache } from "./account-cache.ts";
import { tokensOf } from "./account.ts";
import type { Account } from "./account.ts";
import { countOf, lookedUp, secondsLeftOf } from "./day.ts";
import type { DayName, Today } from "./day.ts";
import { hasBudget, overdrawn } from "./party.ts";
import type { Party } from "./party.ts";

export interface AllowanceOptions {
  /** The first is who asks. */
  readonly parties: readonly [Party, ...Party[]];
  readonly cache: Pick<AccountCache, "find" | "update">;
  readonly at: () => { readonly today: Today; readonly epoch: number };
  readonly keep: () => void;
}

/**
 * What one turn and all that it begins may use. A question that begins while there is budget is asked to
 * its end, so that a turn goes beyond it by the questions that run at that moment at the most.
 */
export function createAllowance(options: AllowanceOptions): Allowance & { readonly spent: Spent } {
  const { parties, cache, at } = options;
  const mostCalls = fewestCalls(parties);
  const spent = { inputTokens: 0, outputTokens: 0, cost: 0 };
  let calls = 0;

  const count = (day: DayName, more: Spent): void => {
    add(spent, more);
    for (const { name, holder, limits } of parties) {
      const apply = (account: Account): void => add(countOf(account.days, day), more);
      cache.update(name, holder, { apply, limited: hasBudget(limits) });
    }
    options.keep();
  };

  return {
    spent,
    begin(expected) {
      const failure = overdrawn(parties, cache, at());
      if (failure !== undefined) throw failure;
      // What turns out later belongs to the day of the question.
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

/** Never below nothing, whatever rounding makes of it. */
function add(to: { -readonly [Key in keyof Spent]: number }, more: Spent): void {
  to.inputTokens = Math.max(0, to.inputTokens + more.inputTokens);
  to.outputTokens = Math.max(0, to.outputTokens + more.outputTokens);
  to.cost = Math.max(0, to.cost + more.cost);
}

function fewestCalls(parties: readonly Party[]): number {
  const limits = parties
    .map((party) => party.limits.tool_calls_per_turn)
    .filter((most) => most > 0);
  return limits.length === 0 ? 0 : Math.min(...limits);
}

function statusOf({ parties, cache, at }: AllowanceOptions, mostCalls: number): UsageStatus {
  const { today, epoch } = at();
  const [{ name, limits }] = parties;
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
    droppedToday: parties
      .map((party) => lookedUp(cache.find(party.name)?.days ?? [], today.day))
      .reduce((sum, { refused }) => sum + (refused["dropped"] ?? 0), 0),
  };
}
