import type { Failure } from "../base/failure.ts";
import type { Claim, JoinedAddress } from "../store/contract/store.ts";
import type { Request } from "./contract.ts";
import type { DurableRequests } from "./durable/durable-requests.ts";
import { wireFailure } from "./errors.ts";
import { laneOf, requestNameOf } from "./request-keys.ts";
import type { RequestKey, RequestQueue } from "./request/request-queue.ts";

/** A durable request that was accepted, here or by another process. */
export interface KnownRequest {
  /** What its client calls its conversation. */
  readonly context?: string;
  /** A turn has begun. */
  readonly hasBegun: boolean;
  /** Undefined while it has none. `failure` is what ended it. */
  readonly answer: { readonly text: string; readonly failure?: Failure } | undefined;
}

interface KnownRequestsOptions<M> {
  readonly queue: Pick<RequestQueue<M>, "cancelOne">;
  readonly durableRequests: Pick<DurableRequests<M>, "find" | "join" | "isShared">;
}

/** To whom an answer goes that joins a request only to have it cancelled. */
const CANCELLATION: JoinedAddress = { address: "cancel", stream: false };

/** Whether the request with this claim is to be cancelled. */
export function isCancellation({ address }: JoinedAddress): boolean {
  return address === CANCELLATION.address;
}

/** What the store has of a request. Rejects as the store does. */
export async function findKnown<M>(
  key: RequestKey,
  { durableRequests }: Pick<KnownRequestsOptions<M>, "durableRequests">,
): Promise<KnownRequest | undefined> {
  const stored = await durableRequests.find(namedBy(key));
  if (stored === undefined) return undefined;
  const { claim, request, answer } = stored;
  const { context } = request;
  return {
    ...(context !== undefined && { context }),
    hasBegun: claim.attempt > 0,
    answer: answer && {
      text: answer.parts.join(""),
      ...(answer.failure && { failure: wireFailure(answer.failure) }),
    },
  };
}

/** See `Gateway.cancel`. */
export async function cancelKnown<M>(
  key: RequestKey,
  { queue, durableRequests }: KnownRequestsOptions<M>,
): Promise<boolean> {
  if (queue.cancelOne(key)) return true;
  if (!durableRequests.isShared) return false;
  const stored = await durableRequests.find(namedBy(key));
  if (stored === undefined || stored.answer !== undefined) return false;
  return durableRequests.join(stored.claim, CANCELLATION);
}

/** Stores where the answer of an accepted request also goes. False if it is delivered, or not in the store. */
export async function joinKnown<M>(
  request: Request,
  durableRequests: Pick<DurableRequests<M>, "find" | "join">,
  known?: Claim,
): Promise<boolean> {
  const claim = known ?? (await durableRequests.find(namedBy(request)))?.claim;
  const { address, id, stream, expiresAt } = request;
  const to = {
    address,
    stream,
    ...(id !== undefined && { id }),
    ...(expiresAt !== undefined && { expiresAt }),
  };
  return claim !== undefined && durableRequests.join(claim, to);
}

function namedBy(key: RequestKey): { readonly lane: string; readonly name: string } {
  return { lane: laneOf(key), name: requestNameOf(key) };
}
