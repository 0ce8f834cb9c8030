import type { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { withoutContent } from "../../base/request-extras.ts";
import type { Claim } from "../../store/contract/store.ts";
import type { Clock } from "../clock.ts";
import type { Request } from "../contract.ts";
import type { DurableRequests } from "../durable/durable-requests.ts";
import { isPush, laneOf, queueWeight } from "../request-keys.ts";
import { clientFields } from "../request-log.ts";

/** A stored answer that had no subscriber. */
export interface UndeliveredAnswer {
  readonly request: Request;
  readonly claim: Claim;
  /** On the clock: when to give up; set when the answer is first added. */
  readonly until?: number | undefined;
}

export interface OfflineClientsOptions {
  readonly clock: Pick<Clock, "now" | "epoch" | "after">;
  readonly log: Log;
  readonly durableRequests: Pick<DurableRequests<unknown>, "delivered">;
  /** Delivers the answer; `add` or `settle` is called afterwards. */
  readonly deliver: (undelivered: QueuedAnswer) => void;
}

/** How long answers wait for a client (pushes wait until they expire), and how many of one client, by weight. */
const MAX_WAIT_MS = 10 * 60_000;
const MAX_WEIGHT = 2048;
/** The delay after an attempt; it doubles from the first to the last, and begins again when the client is seen. */
const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 8000;
/** The same once a client was away for `MAX_WAIT_MS`: a push may wait for days. */
const MAX_LATE_RETRY_MS = 60_000;

interface QueuedAnswer extends UndeliveredAnswer {
  readonly until: number;
}

interface OfflineClient {
  /** On the clock: since when it is away. */
  since: number;
  /** In the order of acceptance. */
  queue: QueuedAnswer[];
  tryAt: number;
  waitMs: number;
  isTrying: boolean;
  waiting: (() => void)[];
}

/**
 * Stored answers of clients that were not subscribed. Retries the oldest answer of each client with a growing
 * delay. When that is delivered, the others follow one by one: a device that comes back receives all of them
 * within a few seconds.
 */
export class OfflineClients {
  readonly #options: OfflineClientsOptions;
  readonly #clients = new Map<string, OfflineClient>();
  #cancelTimer: (() => void) | undefined;
  #isClosed = false;

  constructor(options: OfflineClientsOptions) {
    this.#options = options;
  }

  /**
   * Ends the delivery of any answer. A stored answer is marked as delivered, unless the channel was closed.
   * When it had no subscriber, it is queued until it has one or its time is over; returns true then.
   */
  async settle(
    {
      request,
      claim,
      until,
    }: Pick<UndeliveredAnswer, "request" | "until"> & { readonly claim?: Claim | undefined },
    failure: Failure | undefined,
  ): Promise<boolean> {
    const hadNoSubscriber = claim !== undefined && failure?.code === "no_subscriber";
    if (hadNoSubscriber && this.add({ request, claim, until })) return true;
    if (until !== undefined) this.#attempted(laneOf(request));
    else if (failure === undefined) this.seen(laneOf(request));
    if (claim !== undefined && failure?.code !== "unreachable") {
      await this.#options.durableRequests.delivered(claim);
    }
    return false;
  }

  /** The answer had no subscriber. Returns false when its time is over or too many of the client wait. */
  add({ request, claim, until: before }: UndeliveredAnswer): boolean {
    if (this.#isClosed) return true;
    const now = this.#options.clock.now();
    const lane = laneOf(request);
    const client: OfflineClient = this.#clients.get(lane) ?? {
      since: now,
      queue: [],
      tryAt: now + FIRST_RETRY_MS,
      waitMs: FIRST_RETRY_MS,
      isTrying: false,
      waiting: [],
    };
    const until = before ?? this.#untilOf(request);
    if (before !== undefined) {
      // This answer was being retried; another one that is added for the first time does not end that attempt.
      client.isTrying = false;
      wake(client);
    }
    const weight = client.queue.reduce((sum, other) => sum + queueWeight(other.request), 0);
    if (until <= now || weight >= MAX_WEIGHT) return false;
    this.#clients.set(lane, client);
    const at = client.queue.findIndex((other) => other.claim.seq > claim.seq);
    const one = { request: withoutContent(request), claim, until };
    client.queue.splice(at === -1 ? client.queue.length : at, 0, one);
    this.#schedule();
    return true;
  }

  /** The client sent a request or received something: it may have subscribed, or may do so soon. */
  seen(lane: string): void {
    const client = this.#clients.get(lane);
    if (client === undefined) return;
    const now = this.#options.clock.now();
    client.since = now;
    client.waitMs = FIRST_RETRY_MS;
    client.tryAt = Math.min(client.tryAt, now + FIRST_RETRY_MS);
    this.#try(lane, client);
  }

  /**
   * Delivers the client's waiting answers now, so that a later answer follows them. Resolves when all were
   * delivered, or when one had no subscriber again; undefined when none wait.
   */
  readonly flush = (lane: string): Promise<void> | undefined => {
    const client = this.#clients.get(lane);
    if (client === undefined || this.#isClosed) return undefined;
    return new Promise((resolve) => {
      client.waiting.push(resolve);
      this.#try(lane, client);
    });
  };

  close(): void {
    this.#isClosed = true;
    this.#cancelTimer?.();
    for (const client of this.#clients.values()) wake(client);
  }

  /** The retried answer was delivered, or never can be: the next one follows. */
  #attempted(lane: string): void {
    const client = this.#clients.get(lane);
    if (client === undefined) return;
    client.isTrying = false;
    client.waitMs = FIRST_RETRY_MS;
    this.#try(lane, client);
  }

  #untilOf(request: Request): number {
    const { clock } = this.#options;
    const { expiresAt = Number.POSITIVE_INFINITY } = request;
    const most = isPush(request) ? Number.POSITIVE_INFINITY : MAX_WAIT_MS;
    return clock.now() + Math.min(most, expiresAt - clock.epoch());
  }

  #schedule(): void {
    if (this.#isClosed || this.#cancelTimer !== undefined || this.#clients.size === 0) return;
    const { clock } = this.#options;
    this.#cancelTimer = clock.after(FIRST_RETRY_MS, () => {
      this.#cancelTimer = undefined;
      for (const [lane, client] of this.#clients) {
        if (client.tryAt > clock.now()) continue;
        const isLate = clock.now() - client.since > MAX_WAIT_MS;
        client.waitMs = Math.min(client.waitMs * 2, isLate ? MAX_LATE_RETRY_MS : MAX_RETRY_MS);
        client.tryAt = clock.now() + client.waitMs;
        this.#try(lane, client);
      }
      this.#schedule();
    });
  }

  #try(lane: string, client: OfflineClient): void {
    if (client.isTrying) return;
    this.#dropExpired(client);
    const first = client.queue.shift();
    if (first === undefined) {
      this.#clients.delete(lane);
      wake(client);
      return;
    }
    client.isTrying = true;
    this.#options.deliver(first);
  }

  #dropExpired(client: OfflineClient): void {
    const { clock, log, durableRequests } = this.#options;
    const over = client.queue.filter(({ until }) => until <= clock.now());
    if (over.length > 0) client.queue = client.queue.filter(({ until }) => until > clock.now());
    for (const { claim } of over) void durableRequests.delivered(claim);
    const [first] = over;
    if (first === undefined) return;
    const { id } = first.request;
    const fields = { id, ...clientFields(first.request), answers: over.length };
    log.warn("answers not delivered: no subscriber", fields);
  }
}

function wake(client: OfflineClient): void {
  for (const resolve of client.waiting.splice(0)) resolve();
}
