import type { Request } from "../contract.ts";
import { queueWeight } from "../request-keys.ts";

/** Weight of all attached requests, and attached requests of one request; the others must be asked again. */
const MAX_WEIGHT = 8192;
const MAX_ATTACHED = 8;

/** Requests that get the answer of the same request, which waits in the store. */
export class AttachedRequests {
  /** By the sequence number of the request in the store. */
  readonly #bySeq = new Map<number, Request[]>();
  #weight = 0;

  add(seq: number, request: Request): void {
    const requests = this.#bySeq.get(seq) ?? [];
    const isKnown = requests.some(({ address }) => address === request.address);
    if (isKnown || requests.length >= MAX_ATTACHED || this.#weight >= MAX_WEIGHT) return;
    this.#bySeq.set(seq, [...requests, request]);
    this.#weight += queueWeight(request);
  }

  take(seq: number): readonly Request[] {
    const requests = this.#bySeq.get(seq) ?? [];
    this.#bySeq.delete(seq);
    for (const request of requests) this.#weight -= queueWeight(request);
    return requests;
  }
}
