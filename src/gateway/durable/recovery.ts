import type { Log } from "../../base/log.ts";
import type { AbandonedRequest, JoinedAddress, Store } from "../../store/contract/store.ts";
import type { DirectReplies } from "../answer/direct-replies.ts";
import type { ChannelPolicy } from "../channel-policy.ts";
import type { Clock } from "../clock.ts";
import type { Request } from "../contract.ts";
import type { RequestQueue } from "../request/request-queue.ts";

/** The client of a stored request, and where its answer goes. */
export type Recipient = Pick<Request, "client" | "address" | "id" | "expiresAt">;

/** Returns the function that answers a stored request. */
export type ReplyTo = (channel: string, recipient: Recipient) => Request["reply"];

export interface RecoveryOptions<M> {
  readonly store: Pick<Store<M>, "claimAbandoned">;
  readonly policies: ReadonlyMap<string, ChannelPolicy>;
  readonly replyTo?: ReplyTo | undefined;
  readonly log: Log;
  readonly clock: Pick<Clock, "epoch">;
  readonly queue: Pick<RequestQueue<M>, "addStored" | "attach">;
  readonly direct: Pick<DirectReplies, "resume">;
}

/** Requests that are logged one by one; after a power cut there may be tens of thousands. */
const LOGGED_ONE_BY_ONE = 100;

/** Resumes the requests that a former process left in the store; returns their number, without rejections. */
export async function recover<M>(options: RecoveryOptions<M>): Promise<number> {
  const left = await options.store.claimAbandoned();
  for (const [index, each] of left.entries())
    resumeRequest(each, options, index < LOGGED_ONE_BY_ONE ? "info" : "debug");
  if (left.length > LOGGED_ONE_BY_ONE)
    options.log.info("requests resumed", { requests: left.length });
  options.direct.resume();
  return left.length;
}

/** Adds a request from the store to the queue. */
export function resumeRequest<M>(
  abandoned: AbandonedRequest,
  options: Omit<RecoveryOptions<M>, "store" | "direct">,
  level: "info" | "debug",
): void {
  const { policies, replyTo, log, clock, queue } = options;
  const { claim, request, isAnswered, joined = [] } = abandoned;
  const { channel, client, id, acceptedAt } = request;
  const policy = policies.get(channel);
  if (policy === undefined || replyTo === undefined) {
    log.warn("request waits for a channel that is not enabled any more", {
      id,
      channel,
      client,
      try: `enable channel ${channel} again: until then the request has no answer`,
    });
    return;
  }
  log[level](isAnswered ? "answer resumed" : "request resumed", {
    id,
    channel,
    client,
    attempts: claim.attempt,
    waited_ms: clock.epoch() - acceptedAt,
  });
  queue.addStored(restoredRequest(request, replyTo), abandoned);
  for (const to of joined) queue.attach(claim, furtherRequest(request, to, replyTo));
}

/** The same request, of which the answer goes to another address. */
export function furtherRequest(
  { id: _id, expiresAt: _expiresAt, ...request }: AbandonedRequest["request"],
  to: JoinedAddress,
  replyTo: ReplyTo,
): Request {
  return restoredRequest({ ...request, ...to }, replyTo);
}

/** A request from the store, without its text and extras. */
export function restoredRequest(
  {
    name,
    channel,
    client,
    conversation,
    id,
    stream,
    address,
    expiresAt,
  }: AbandonedRequest["request"],
  replyTo: ReplyTo,
): Request {
  const recipient = {
    client,
    address,
    ...(id !== undefined && { id }),
    ...(expiresAt !== undefined && { expiresAt }),
  };
  return {
    ...recipient,
    ...(conversation !== undefined && { conversation }),
    name,
    channel,
    text: "",
    stream,
    fingerprint: "",
    redelivered: true,
    durable: true,
    reply: replyTo(channel, recipient),
  };
}
