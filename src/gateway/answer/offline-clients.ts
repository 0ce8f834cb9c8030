import type { Log } from "../../base/log.ts";
import type { Claim } from "../../store/contract.ts";
import type { Clock } from "../clock.ts";
import type { Request } from "../contract.ts";
import { laneOf, queueWeight } from "../request-keys.ts";
import { clientFields } from "../request-log.ts";

/** A stored answer that nobody was subscribed to hear. */
export interface UndeliveredAnswer {
  readonly request: Request;
  readonly claim: Claim;
  /** On the clock: when it is of no use any more; decided when it is first kept. */
  readonly until?: number;
}

export interface OfflineClientsOptions {
  readonly clock: Pick<Clock, "now" | "epoch" | "after">;
  readonly log: Log;
  /** Delivers the answer; `keep` or `tried` is what follows. */
  readonly deliver: (unheard: UndeliveredAnswer) => void;
  /** The answer can never be delivered. */
  readonly abandon: (claim: Claim) => void;
}

/** Stored answers for clients that were not subscribed when they were published. */
export interface OfflineClients {
  /** Nobody heard it. False where it is of no use any more, or too many of that client are kept. */
  add(unheard: UndeliveredAnswer): boolean;
  /** What `give` gave was delivered, or never can be: the next one follows. */
  attempted(lane: string): void;
  /** The client asked something, or heard something else: it may have subscribed. */
  seen(lane: string): void;
  /**
   * Tries at once what is kept for the client, so that what comes after it stays behind it. Resolves when all
   * of it was given, or the next one was not heard either; undefined where nothing is kept.
   */
  flush(lane: string): Promise<void> | undefined;
  close(): void;
}

/** What is kept for a client that never comes back; its answers are counted by their places. */
const LONGEST_MS = 10 * 60_000;
const MOST_OF_ONE = 2048;
/** How long after a try the next one follows: the first soon, later ones every few seconds. */
const FIRST_MS = 1000;
const LATER_MS = 8000;

type QueuedAnswer = Required<UndeliveredAnswer>;

interface OfflineClient {
  /** In the order of acceptance. */
  queue: QueuedAnswer[];
  tryAt: number;
  waitMs: number;
  isTrying: boolean;
  waiting: (() => void)[];
}

/**
 * Tries the oldest answer of each such client again and again, less often with each try; when it is heard
 * the others follow, one after the other. A device that comes back hears everything within a few seconds.
 */
export function createOfflineClients(options: OfflineClientsOptions): OfflineClients {
  return new RetriedClients(options);
}

class RetriedClients implements OfflineClients {
  readonly #options: OfflineClientsOptions;
  readonly #clients = new Map<string, OfflineClient>();
  #cancelTimer: (() => void) | undefined;
  #isClosed = false;

  constructor(options: OfflineClientsOptions) {
    this.#options = options;
  }

  add({ request, claim, until: before }: UndeliveredAnswer): boolean {
    if (this.#isClosed) return true;
    const now = this.#options.clock.now();
    const lane = laneOf(request);
    const client = this.#clients.get(lane) ?? newClient(now);
    const until = before ?? this.#untilOf(request);
    if (before !== undefined) {
      // It is the one that was tried; others that are unheard for the first time change nothing about it.
      client.isTrying = false;
      wake(client);
    }
    if (until <= now || placesIn(client) >= MOST_OF_ONE) return false;
    this.#clients.set(lane, client);
    const at = client.queue.findIndex((other) => other.claim.seq > claim.seq);
    const one = { request: { ...request, text: "" }, claim, until };
    client.queue.splice(at === -1 ? client.queue.length : at, 0, one);
    this.#schedule();
    return true;
  }

  attempted(lane: string): void {
    const client = this.#clients.get(lane);
    if (client === undefined) return;
    client.isTrying = false;
    client.waitMs = FIRST_MS;
    this.#try(lane, client);
  }

  seen(lane: string): void {
    const client = this.#clients.get(lane);
    if (client !== undefined) this.#try(lane, client);
  }

  flush(lane: string): Promise<void> | undefined {
    const client = this.#clients.get(lane);
    if (client === undefined || this.#isClosed) return undefined;
    return new Promise((resolve) => {
      client.waiting.push(resolve);
      this.#try(lane, client);
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelTimer?.();
    for (const client of this.#clients.values()) wake(client);
  }

  #untilOf({ expiresAt = Number.POSITIVE_INFINITY }: Request): number {
    const { clock } = this.#options;
    return clock.now() + Math.min(LONGEST_MS, expiresAt - clock.epoch());
  }

  #schedule(): void {
    if (this.#isClosed || this.#cancelTimer !== undefined || this.#clients.size === 0) return;
    const { clock } = this.#options;
    this.#cancelTimer = clock.after(FIRST_MS, () => {
      this.#cancelTimer = undefined;
      for (const [lane, client] of this.#clients) {
        if (client.tryAt <= clock.now()) this.#try(lane, client);
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
    client.waitMs = Math.min(client.waitMs * 2, LATER_MS);
    client.tryAt = this.#options.clock.now() + client.waitMs;
    this.#options.deliver(first);
  }

  #dropExpired(client: OfflineClient): void {
    const { clock, log, abandon } = this.#options;
    const over = client.queue.filter(({ until }) => until <= clock.now());
    if (over.length > 0) client.queue = client.queue.filter(({ until }) => until > clock.now());
    for (const { claim } of over) abandon(claim);
    const [first] = over;
    if (first === undefined) return;
    const { id } = first.request;
    const fields = { id, ...clientFields(first.request), answers: over.length };
    log.warn("answers not delivered: nobody subscribed", fields);
  }
}

function newClient(now: number): OfflineClient {
  return { queue: [], tryAt: now + FIRST_MS, waitMs: FIRST_MS, isTrying: false, waiting: [] };
}

function placesIn({ queue }: OfflineClient): number {
  return queue.reduce((places, { request }) => places + queueWeight(request), 0);
}

function wake(client: OfflineClient): void {
  for (const resolve of client.waiting.splice(0)) resolve();
}
