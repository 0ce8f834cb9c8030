import type { Limits } from "../../base/contract.ts";
import { Failure } from "../../base/failure.ts";
import { clipped } from "../clipped.ts";
import type { Request } from "../contract.ts";
import { failureOf } from "../failures.ts";
import type { ChannelPolicy } from "../limits.ts";
import { laneOf } from "../names.ts";
import type { AccountCache } from "./account-cache.ts";
import { tokensOf } from "./account.ts";
import type { Holder } from "./account.ts";
import { lookedUp, secondsLeftOf } from "./day.ts";
import type { DayCount, Today } from "./day.ts";

/** Of whom something is counted, and within which limits. */
export interface Party {
  readonly name: string;
  readonly holder: Holder;
  readonly limits: Limits;
}

/** The name of the gateway's account. */
export const GATEWAY = "gateway";

/** The name of a channel's account; no lane is called so. */
export function nameOfChannel(channel: string): string {
  return `total ${channel}`;
}

const LONGEST_CLIENT = 128;

export function holderOf({ channel, client }: Pick<Request, "channel" | "client">): Holder {
  return { channel, client: clipped(client, LONGEST_CLIENT) };
}

/** Whose limits a request counts against: its client's, its channel's, and the gateway's. */
export function partiesOf(
  request: Request,
  { limits, totalLimits }: ChannelPolicy,
  gateway: Limits,
): readonly [Party, ...Party[]] {
  const { channel } = request;
  return [
    { name: laneOf(request), holder: holderOf(request), limits },
    { name: nameOfChannel(channel), holder: { channel }, limits: totalLimits },
    { name: GATEWAY, holder: {}, limits: gateway },
  ];
}

/** Whether a day has an end before its end. */
export function hasBudget({ tokens_per_day: tokens, cost_per_day: cost }: Limits): boolean {
  return tokens > 0 || cost > 0;
}

/** What to refuse with where one of these has used up a budget of today. */
export function overdrawn(
  parties: readonly Party[],
  accounts: Pick<AccountCache, "find">,
  { today, epoch }: { readonly today: Today; readonly epoch: number },
): Failure | undefined {
  for (const { name, holder, limits } of parties) {
    if (!hasBudget(limits)) continue;
    const why = usedUp(lookedUp(accounts.find(name)?.days ?? [], today.day), limits);
    if (why === undefined) continue;
    const { code, message } = failureOf("budget");
    const retryAfter = secondsLeftOf(today, epoch);
    return new Failure(code, message, { retryAfter, why: `${why} of ${wholeOf(holder)}` });
  }
  return undefined;
}

/** Which budget of a day is used up, for the operator. */
function usedUp(used: DayCount, limits: Limits): string | undefined {
  const { tokens_per_day: tokens, cost_per_day: cost } = limits;
  if (tokens > 0 && tokensOf(used) >= tokens) return `tokens_per_day (${tokens})`;
  return cost > 0 && used.cost >= cost ? `cost_per_day (${cost})` : undefined;
}

function wholeOf({ channel, client }: Holder): string {
  if (channel === undefined) return "the whole gateway";
  return client === undefined ? "the whole channel" : "the client";
}
