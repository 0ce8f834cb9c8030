import { Failure } from "../../base/failure.ts";
import { unknownChannel } from "../admission.ts";
import { isAllowed } from "../channel-policy.ts";
import { failureOf } from "../errors.ts";
import { isRated, secondsUntilToken, withTokenTaken } from "../usage/rate-limit.ts";
import type { Bucket } from "../usage/rate-limit.ts";
import type { AskOptions } from "./ask.ts";

/**
 * Counts the calls of clients that need no turn, apart from their requests and by the same limit. Returns why a call is
 * refused; undefined if it is not.
 */
export function createCallLimit(
  { policies, channel }: Pick<AskOptions, "policies" | "channel">,
  now: () => number,
): (client: string) => Failure | undefined {
  const buckets = new Map<string, Bucket>();
  return (client) => {
    const policy = policies.get(channel);
    if (policy === undefined) return unknownChannel(channel);
    if (!isAllowed(policy, client)) return failureOf("forbidden");
    const { limits } = policy;
    if (!isRated(limits)) return undefined;
    const bucket = buckets.get(client);
    const seconds = secondsUntilToken(bucket, limits, now());
    if (seconds > 0) return failureOf("rate_limited", seconds);
    buckets.set(client, withTokenTaken(bucket, limits, now()));
    return undefined;
  };
}
