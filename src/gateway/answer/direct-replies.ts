import { asFailure } from "../../base/failure.ts";
import type { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { Claim, StoredRequest } from "../../store/contract.ts";
import type { Clock } from "../clock.ts";
import type { Request } from "../contract.ts";
import { restoredEntry } from "../dedupe.ts";
import type { DedupeEntry } from "../dedupe.ts";
import type { DurableRequests } from "../durable/durable-requests.ts";
import type { InFlight } from "../in-flight.ts";
import { laneOf, queueWeight } from "../request-keys.ts";
import type { RequestRecord } from "../request-log.ts";
import type { Accounting } from "../usage/accounts.ts";
import { deliver } from "./answer-stream.ts";
import { OfflineClients } from "./offline-clients.ts";
import { ReplyQueue } from "./reply-queue.ts";

type Facts = Pick<RequestRecord, "duplicate" | "failure" | "suppressed" | "unlimited">;

/** An answer outside of the lanes: a rejection, a repeated answer, or one that had no subscriber before. */
export interface DirectReply extends Facts {
  readonly request: Request;
  /** The answer; read from the store when left out. */
  readonly entry?: Pick<DedupeEntry, "answer" | "addresses" | "failure">;
  /** Its claim in the store: the answer is delivered once, also after a crash. */
  readonly claim?: Claim;
  /** On the clock: when to give up an answer that had no subscriber before. */
  readonly until?: number;
}

export interface DirectRepliesOptions {
  /** Stored rejections of other channels are left to those. */
  readonly channel: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly durableRequests: Pick<DurableRequests<unknown>, "load" | "delivered" | "rejections">;
  readonly inFlight: InFlight;
  readonly write: (entry: RequestRecord) => void;
  /** A request from the store, with the way to answer it. */
  readonly restore?: ((stored: StoredRequest<unknown>) => Request) | undefined;
  readonly accounting: Pick<Accounting, "countRejection">;
}

/** Answers outside of the lanes. A flood of them costs bounded memory and does not delay the answers of other clients. */
export interface DirectReplies {
  /** Queues a reply. When the queue is full, a reply that is not stored is dropped and counted. */
  send(reply: DirectReply): void;
  /** Queues a stored rejection. When the queue is full, it is read from the store again later. */
  sendRejection(reply: DirectReply & { readonly claim: Claim }): void;
  /**
   * Ends the delivery of any answer. A stored answer is marked as delivered, unless the channel was closed.
   * When it had no subscriber, it is queued until it has one or its time is over; returns true then.
   */
  settle(
    delivered: Pick<DirectReply, "request" | "claim" | "until">,
    failure: Failure | undefined,
  ): Promise<boolean>;
  /** The client is connected: delivers its waiting answers now. */
  clientSeen(request: Pick<Request, "channel" | "client">): void;
  /** Delivers the client's waiting answers first. Resolves after the attempt; undefined when none wait. */
  flushRetries(request: Pick<Request, "channel" | "client">): Promise<void> | undefined;
  /** Delivers the stored rejections that a former process left. */
  resume(): void;
  /** Starts only replies that need not wait; leaves no timer. */
  close(): void;
}

/** Weight of the rejections in memory; the rest waits in the store. */
const IN_MEMORY = 4096;
const PAGE = 128;
/** Weight of the waiting replies that are not stored, of one client and of all. */
const WAITING = { perLane: 1024, inAll: 8192 };
/** Replies in flight. Fewer for one client than the transport sends at once: a flood of rejections leaves room for answers. */
const IN_FLIGHT = { perLane: 16, inAll: 256 };
const LOG_EVERY_MS = 60_000;

/** The direct replies of each channel, with bounds of their own: a channel whose broker is away delays no other. */
export function createDirectReplies(
  options: Omit<DirectRepliesOptions, "channel">,
  channels: Iterable<string>,
): DirectReplies {
  const byChannel = new Map<string, DirectReplies>();
  let isClosed = false;
  const of = ({ channel }: { readonly channel: string }): DirectReplies => {
    const existing = byChannel.get(channel);
    if (existing !== undefined) return existing;
    const replies = new BoundedReplies({ ...options, channel });
    byChannel.set(channel, replies);
    if (isClosed) replies.close();
    return replies;
  };
  for (const channel of channels) of({ channel });
  return {
    send: (reply) => of(reply.request).send(reply),
    sendRejection: (reply) => of(reply.request).sendRejection(reply),
    settle: (delivered, failure) => of(delivered.request).settle(delivered, failure),
    clientSeen: (request) => of(request).clientSeen(request),
    flushRetries: (request) => of(request).flushRetries(request),
    resume() {
      for (const replies of byChannel.values()) replies.resume();
    },
    close() {
      isClosed = true;
      for (const replies of byChannel.values()) replies.close();
    },
  };
}

class BoundedReplies implements DirectReplies {
  readonly #options: DirectRepliesOptions;
  readonly #lanes: ReplyQueue<DirectReply>;
  readonly #offline: OfflineClients;
  readonly #spilled: Spilled;
  readonly #dropped: ReturnType<typeof createDropped>;

  constructor(options: DirectRepliesOptions) {
    const { clock, log, durableRequests } = options;
    this.#options = options;
    this.#dropped = createDropped(options);
    this.#lanes = new ReplyQueue({
      ...IN_FLIGHT,
      weightOf: ({ request }) => queueWeight(request),
      deliver: (reply) => this.#deliver(reply),
      onRoom: () => this.#spilled.refill(),
    });
    this.#offline = new OfflineClients({
      clock,
      log,
      deliver: (answer) => this.#lanes.add(laneOf(answer.request), answer),
      abandon: (claim) => void durableRequests.delivered(claim),
    });
    this.#spilled = createSpilled(options, {
      hasRoom: () => this.#lanes.size < IN_MEMORY / 4,
      add: (reply) => this.#lanes.add(laneOf(reply.request), reply),
    });
  }

  send(reply: DirectReply): void {
    const lane = laneOf(reply.request);
    const fits = this.#lanes.waiting(lane) < WAITING.perLane && this.#lanes.size < WAITING.inAll;
    if (reply.claim !== undefined || fits) {
      this.#lanes.add(lane, reply);
      return;
    }
    reply.entry?.addresses.delete(reply.request.address);
    this.#dropped.add(reply.request);
  }

  sendRejection(reply: DirectReply & { readonly claim: Claim }): void {
    if (this.#spilled.takes(reply.claim, this.#lanes.size >= IN_MEMORY)) return;
    this.#lanes.add(laneOf(reply.request), reply);
  }

  async settle(
    { request, claim, until }: Pick<DirectReply, "request" | "claim" | "until">,
    failure: Failure | undefined,
  ): Promise<boolean> {
    if (claim !== undefined && failure?.code === "no_subscriber") {
      const answer = { request, claim, ...(until !== undefined && { until }) };
      if (this.#offline.add(answer)) return true;
    }
    if (until !== undefined) this.#offline.attempted(laneOf(request));
    else if (failure === undefined) this.#offline.seen(laneOf(request));
    if (claim !== undefined && failure?.code !== "unreachable") {
      await this.#options.durableRequests.delivered(claim);
    }
    return false;
  }

  clientSeen(request: Pick<Request, "channel" | "client">): void {
    this.#offline.seen(laneOf(request));
  }

  flushRetries(request: Pick<Request, "channel" | "client">): Promise<void> | undefined {
    return this.#offline.flush(laneOf(request));
  }

  resume(): void {
    this.#spilled.begin();
  }

  close(): void {
    this.#spilled.close();
    this.#offline.close();
    this.#lanes.close();
    this.#dropped.close();
  }

  #deliver(reply: DirectReply): Promise<void> {
    const { inFlight, log } = this.#options;
    const counts = inFlight.enter();
    return this.#deliverOne(reply)
      .catch((thrown: unknown) => {
        const { message, why } = asFailure(thrown);
        log.warn("stored answer could not be read", { error: message, why });
      })
      .finally(() => inFlight.leave(counts));
  }

  async #deliverOne(reply: DirectReply): Promise<void> {
    const { clock, durableRequests } = this.#options;
    const acceptedAt = clock.now();
    const { request, claim, entry = await this.#load(claim), until } = reply;
    if (entry === undefined) {
      // The answer was delivered before it could be written, and may be written later.
      if (claim === undefined || until === undefined) return;
      if (!this.#offline.add({ request, claim, until })) await durableRequests.delivered(claim);
      return;
    }
    entry.addresses.add(request.address);
    const delivery = deliver(request, entry.answer, clock);
    await delivery.finished;
    entry.addresses.delete(request.address);
    const isQueued = await this.settle(reply, delivery.failure);
    if (!isQueued) this.#log(reply, { ...entry, acceptedAt, delivery });
  }

  #log(
    { request, entry, duplicate, failure, suppressed, unlimited }: DirectReply,
    delivered: Pick<RequestRecord, "acceptedAt" | "delivery"> &
      Pick<DedupeEntry, "answer" | "failure">,
  ): void {
    const { acceptedAt, delivery, answer } = delivered;
    // A failure from the store was logged when it was stored.
    const isLogged = entry === undefined && delivered.failure !== undefined;
    this.#options.write({
      request,
      acceptedAt,
      delivery,
      answer,
      failure: failure ?? delivered.failure,
      outcome: delivered.failure?.code ?? "ok",
      ...(duplicate !== undefined && { duplicate }),
      ...(suppressed !== undefined && { suppressed }),
      ...((unlimited === true || isLogged) && { unlimited: true }),
    });
  }

  async #load(claim: Claim | undefined): Promise<DedupeEntry | undefined> {
    const { durableRequests, clock } = this.#options;
    const answer = claim && (await durableRequests.load(claim))?.answer;
    return answer && restoredEntry(answer, clock);
  }
}

/** Logs the number of dropped replies at most once a minute. */
function createDropped({ clock, log, accounting }: DirectRepliesOptions): {
  add(request: Request): void;
  close(): void;
} {
  let count = 0;
  let closed = false;
  let cancelTimer: (() => void) | undefined;
  const report = (): void => {
    cancelTimer?.();
    cancelTimer = undefined;
    if (count > 0) log.warn("dropped replies: queue full", { count });
    count = 0;
  };
  return {
    add(request) {
      count += 1;
      accounting.countRejection(request, "dropped");
      if (!closed) cancelTimer ??= clock.after(LOG_EVERY_MS, report);
    },
    close() {
      closed = true;
      report();
    },
  };
}

interface Spilled {
  /** Whether the rejection stays in the store: the queue is full, or earlier ones stayed there. */
  takes(claim: Claim, isFull: boolean): boolean;
  /** Reads from the first rejection on. */
  begin(): void;
  readonly refill: () => void;
  close(): void;
}

/** Rejections that wait in the store only, in order. */
function createSpilled(
  { durableRequests, restore, log, channel }: DirectRepliesOptions,
  memory: { hasRoom: () => boolean; add: (reply: DirectReply) => void },
): Spilled {
  /** The sequence number of the last one read; undefined when none waits in the store. */
  let readTo: number | undefined;
  let newest = 0;
  let isReading = false;
  let isClosed = restore === undefined;

  const take = (stored: StoredRequest<unknown>): void => {
    const request = stored.request.channel === channel ? restore?.(stored) : undefined;
    if (request !== undefined) memory.add({ request, claim: stored.claim });
  };
  const read = async (after: number): Promise<void> => {
    const page = await durableRequests.rejections(after, PAGE);
    if (isClosed) return;
    for (const stored of page) take(stored);
    readTo = page.at(-1)?.claim.seq ?? after;
    if (page.length < PAGE && readTo >= newest) readTo = undefined;
  };
  const refill = (): void => {
    if (readTo === undefined || isReading || isClosed || !memory.hasRoom()) return;
    isReading = true;
    const failed = (thrown: unknown): void => {
      log.warn("rejections could not be read from the store", { why: String(thrown) });
      readTo = undefined;
    };
    void read(readTo)
      .catch(failed)
      .finally(() => {
        isReading = false;
        refill();
      });
  };
  return {
    refill,
    takes({ seq }, isFull) {
      if (isClosed || (readTo === undefined && !isFull)) return false;
      // A page that was read meanwhile may have contained it.
      if (readTo !== undefined && seq <= readTo) return true;
      readTo ??= seq - 1;
      newest = seq;
      return true;
    },
    begin() {
      readTo = 0;
      refill();
    },
    close: () => void (isClosed = true),
  };
}
