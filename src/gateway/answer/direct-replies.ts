import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { Claim, StoredRequest } from "../../store/contract/store.ts";
import type { Clock } from "../clock.ts";
import type { Request } from "../contract.ts";
import type { DurableRequests } from "../durable/durable-requests.ts";
import type { InFlight } from "../in-flight.ts";
import { laneOf, queueWeight } from "../request-keys.ts";
import type { RequestRecord } from "../request-log.ts";
import type { Statistics } from "../statistics/statistics.ts";
import type { Accounting } from "../usage/accounts.ts";
import { deliver, restoredAnswer } from "./answer-stream.ts";
import type { AnswerStream, Delivery } from "./answer-stream.ts";
import type { OfflineClients } from "./offline-clients.ts";

/** An answer outside of the lanes: a rejection, a repeated answer, or one that had no subscriber before. */
export interface DirectReply extends Pick<
  RequestRecord,
  "duplicate" | "failure" | "suppressed" | "unlimited"
> {
  readonly request: Request;
  /** Read from the store when left out. */
  readonly answer?: AnswerStream;
  /** Its claim in the store: the answer is delivered once, also after a crash. */
  readonly claim?: Claim;
  /** On the clock: when to give up an answer that had no subscriber before. */
  readonly until?: number;
}

export interface DirectRepliesOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly durableRequests: Pick<
    DurableRequests<unknown>,
    "load" | "delivered" | "rejections" | "isShared"
  >;
  readonly inFlight: InFlight;
  readonly offline: Pick<OfflineClients, "add" | "settle">;
  readonly write: (entry: RequestRecord) => void;
  /** A request from the store, with the way to answer it. */
  readonly restore?: ((stored: StoredRequest<unknown>) => Request) | undefined;
  readonly accounting: Pick<Accounting, "countRejection">;
  readonly statistics: Pick<Statistics, "count">;
}

/** Weight of the rejections in memory; the rest waits in the store. */
const IN_MEMORY = 4096;
const PAGE = 128;
/** Weight of the waiting replies that are not stored, of one client and of all. */
const WAITING = { perLane: 1024, inAll: 8192 };
/** Replies in flight. Fewer for one client than the transport sends at once: a flood of rejections leaves room for answers. */
const IN_FLIGHT = { perLane: 16, inAll: 256 };
const LOG_EVERY_MS = 60_000;

/**
 * Answers outside of the lanes. A flood of them costs bounded memory and does not delay the answers of other
 * clients. Each channel has bounds of its own: a channel whose broker is away delays no other.
 */
export class DirectReplies {
  readonly #options: DirectRepliesOptions;
  readonly #byChannel = new Map<string, ChannelReplies>();
  #isClosed = false;

  constructor(options: DirectRepliesOptions, channels: Iterable<string>) {
    this.#options = options;
    for (const channel of channels) this.#of(channel);
  }

  /** Queues a reply. When the queue is full, a reply that is not stored is dropped and counted. */
  send(reply: DirectReply): void {
    this.#of(reply.request.channel).send(reply);
  }

  /** Queues a stored rejection. When the queue is full, it is read from the store again later. */
  sendRejection(reply: DirectReply & { readonly claim: Claim }): void {
    this.#of(reply.request.channel).sendRejection(reply);
  }

  /** Delivers the stored rejections that a former process left. */
  resume(): void {
    for (const replies of this.#byChannel.values()) replies.resume();
  }

  /** Starts only replies that need not wait; leaves no timer. */
  close(): void {
    this.#isClosed = true;
    for (const replies of this.#byChannel.values()) replies.close();
  }

  #of(channel: string): ChannelReplies {
    const existing = this.#byChannel.get(channel);
    if (existing !== undefined) return existing;
    const replies = new ChannelReplies(this.#options, channel);
    this.#byChannel.set(channel, replies);
    if (this.#isClosed) replies.close();
    return replies;
  }
}

class ChannelReplies {
  readonly #options: DirectRepliesOptions;
  readonly #queue: ReplyQueue;
  readonly #spilled: SpilledRejections;
  readonly #dropped: DroppedReplies;

  constructor(options: DirectRepliesOptions, channel: string) {
    this.#options = options;
    this.#dropped = new DroppedReplies(options);
    this.#queue = new ReplyQueue((reply) => this.#deliver(reply));
    this.#spilled = new SpilledRejections(options, channel, this.#queue);
  }

  send(reply: DirectReply): void {
    const lane = laneOf(reply.request);
    const fits = this.#queue.waiting(lane) < WAITING.perLane && this.#queue.size < WAITING.inAll;
    if (reply.claim !== undefined || fits) {
      this.#queue.add(reply);
      return;
    }
    reply.answer?.addresses.delete(reply.request.address);
    this.#dropped.add(reply.request);
  }

  sendRejection(reply: DirectReply & { readonly claim: Claim }): void {
    if (!this.#spilled.takes(reply.claim)) this.#queue.add(reply);
  }

  resume(): void {
    this.#spilled.begin();
  }

  close(): void {
    this.#spilled.close();
    this.#queue.close();
    this.#dropped.close();
  }

  /** Never rejects. */
  async #deliver(reply: DirectReply): Promise<void> {
    const { inFlight, log } = this.#options;
    const counts = inFlight.enter();
    try {
      await this.#deliverOne(reply);
    } catch (thrown) {
      const { message, why } = asFailure(thrown);
      log.warn("stored answer could not be read", { error: message, why });
    }
    inFlight.leave(counts);
    void this.#spilled.refill();
  }

  async #deliverOne(reply: DirectReply): Promise<void> {
    const { clock, durableRequests, offline } = this.#options;
    const acceptedAt = clock.now();
    const { request, claim, answer = await this.#load(claim), until } = reply;
    if (answer === undefined) {
      // The answer was delivered before it could be written, and may be written later; or another gateway has it.
      if (claim === undefined || until === undefined) return;
      if (durableRequests.isShared) await offline.settle({ request, until }, undefined);
      else if (!offline.add({ request, claim, until })) await durableRequests.delivered(claim);
      return;
    }
    const delivery = deliver(request, answer, clock);
    await delivery.finished;
    const isQueued = await offline.settle(reply, delivery.failure);
    if (!isQueued) this.#log(reply, answer, { acceptedAt, delivery });
  }

  #log(
    reply: DirectReply,
    answer: AnswerStream,
    delivered: { readonly acceptedAt: number; readonly delivery: Delivery },
  ): void {
    const { request, duplicate, suppressed, unlimited, failure = answer.failure } = reply;
    // A failure from the store was logged when it was stored.
    const isLogged = reply.answer === undefined && answer.failure !== undefined;
    const outcome = answer.failure?.code ?? "ok";
    this.#options.write({
      request,
      ...delivered,
      answer,
      failure,
      outcome,
      duplicate,
      suppressed,
      unlimited: unlimited === true || isLogged,
    });
  }

  async #load(claim: Claim | undefined): Promise<AnswerStream | undefined> {
    const { durableRequests, clock } = this.#options;
    const answer = claim && (await durableRequests.load(claim))?.answer;
    return answer && restoredAnswer(answer, clock);
  }
}

/** Counts the dropped replies and logs their number at most once a minute. */
class DroppedReplies {
  readonly #options: DirectRepliesOptions;
  #count = 0;
  #isClosed = false;
  #cancelTimer: (() => void) | undefined;

  constructor(options: DirectRepliesOptions) {
    this.#options = options;
  }

  add(request: Request): void {
    const { accounting, clock, statistics } = this.#options;
    this.#count += 1;
    accounting.countRejection(request, "dropped");
    statistics.count(request.channel, "dropped");
    if (!this.#isClosed) this.#cancelTimer ??= clock.after(LOG_EVERY_MS, () => this.#report());
  }

  close(): void {
    this.#isClosed = true;
    this.#report();
  }

  #report(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    const count = this.#count;
    if (count > 0) this.#options.log.warn("dropped replies: queue full", { count });
    this.#count = 0;
  }
}

/** Rejections of one channel that wait in the store only, in order. */
class SpilledRejections {
  readonly #options: DirectRepliesOptions;
  readonly #channel: string;
  readonly #queue: ReplyQueue;
  /** The sequence number of the last one read; undefined when none waits in the store. */
  #readTo: number | undefined;
  #newest = 0;
  #isReading = false;
  #isClosed: boolean;

  constructor(options: DirectRepliesOptions, channel: string, queue: ReplyQueue) {
    this.#options = options;
    this.#channel = channel;
    this.#queue = queue;
    this.#isClosed = options.restore === undefined;
  }

  /** Whether the rejection stays in the store: the queue is full, or earlier ones stayed there. */
  takes({ seq }: Claim): boolean {
    const isFull = this.#queue.size >= IN_MEMORY;
    if (this.#isClosed || (this.#readTo === undefined && !isFull)) return false;
    // A page that was read meanwhile may have contained it.
    if (this.#readTo !== undefined && seq <= this.#readTo) return true;
    this.#readTo ??= seq - 1;
    this.#newest = seq;
    return true;
  }

  /** Reads from the first rejection on. */
  begin(): void {
    this.#readTo = 0;
    void this.refill();
  }

  /** Reads further rejections while there is room in the queue. Never rejects. */
  async refill(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    while (this.#readTo !== undefined && !this.#isClosed && this.#queue.size < IN_MEMORY / 4) {
      try {
        await this.#read(this.#readTo);
      } catch (thrown) {
        const why = String(thrown);
        this.#options.log.warn("rejections could not be read from the store", { why });
        this.#readTo = undefined;
      }
    }
    this.#isReading = false;
  }

  close(): void {
    this.#isClosed = true;
  }

  async #read(after: number): Promise<void> {
    const { durableRequests, restore } = this.#options;
    const page = await durableRequests.rejections(after, PAGE);
    if (this.#isClosed) return;
    for (const stored of page) {
      // Those of other channels are left to those.
      const request = stored.request.channel === this.#channel ? restore?.(stored) : undefined;
      if (request !== undefined) this.#queue.add({ request, claim: stored.claim });
    }
    this.#readTo = page.at(-1)?.claim.seq ?? after;
    if (page.length < PAGE && this.#readTo >= this.#newest) this.#readTo = undefined;
  }
}

interface Lane {
  readonly queue: DirectReply[];
  /** Weight of the replies in the queue. */
  weight: number;
  inFlight: number;
}

/** Replies outside of the request lanes: several at a time to one client, round robin between clients. */
class ReplyQueue {
  readonly #start: (reply: DirectReply) => Promise<void>;
  readonly #lanes = new Map<string, Lane>();
  /** Lanes with waiting replies that may have one more in flight, in the order of their turns. */
  readonly #ready = new Set<string>();
  #inFlight = 0;
  #isClosed = false;
  /** Weight of all waiting replies. */
  size = 0;

  /** `start` delivers a reply; it must not reject. */
  constructor(start: (reply: DirectReply) => Promise<void>) {
    this.#start = start;
  }

  add(reply: DirectReply): void {
    const name = laneOf(reply.request);
    const lane = this.#lanes.get(name) ?? { queue: [], weight: 0, inFlight: 0 };
    const isFree = lane.queue.length === 0 && lane.inFlight < IN_FLIGHT.perLane;
    if (this.#isClosed && !(isFree && this.#inFlight < IN_FLIGHT.inAll)) return;
    this.#lanes.set(name, lane);
    lane.queue.push(reply);
    this.#addWeight(lane, queueWeight(reply.request));
    this.#update(name, lane);
    this.#pump();
  }

  /** Weight of the lane's waiting replies. */
  waiting(name: string): number {
    return this.#lanes.get(name)?.weight ?? 0;
  }

  /** Drops the waiting replies. A new reply is only started when it need not wait. */
  close(): void {
    this.#isClosed = true;
    this.size = 0;
    this.#ready.clear();
    for (const lane of this.#lanes.values()) {
      lane.queue.length = 0;
      lane.weight = 0;
    }
  }

  #addWeight(lane: Lane, weight: number): void {
    lane.weight += weight;
    this.size += weight;
  }

  #update(name: string, lane: Lane): void {
    if (lane.queue.length > 0 && lane.inFlight < IN_FLIGHT.perLane) this.#ready.add(name);
    else if (lane.queue.length === 0 && lane.inFlight === 0) this.#lanes.delete(name);
  }

  #pump(): void {
    while (this.#inFlight < IN_FLIGHT.inAll) {
      const [name] = this.#ready;
      if (name === undefined) return;
      this.#ready.delete(name);
      const lane = this.#lanes.get(name);
      const reply = lane?.queue.shift();
      if (lane === undefined || reply === undefined) continue;
      this.#addWeight(lane, -queueWeight(reply.request));
      lane.inFlight += 1;
      this.#inFlight += 1;
      this.#update(name, lane);
      void this.#start(reply).then(() => {
        lane.inFlight -= 1;
        this.#inFlight -= 1;
        this.#update(name, lane);
        this.#pump();
      });
    }
  }
}
