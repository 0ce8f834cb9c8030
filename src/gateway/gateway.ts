import { Lazy } from "../base/async.ts";
import type { Limits } from "../base/contract.ts";
import { asFailure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import type { StoredRequest, Store } from "../store/contract/store.ts";
import { Acceptor } from "./accept.ts";
import { Admission } from "./admission.ts";
import type { AnswerStream } from "./answer/answer-stream.ts";
import { DirectReplies } from "./answer/direct-replies.ts";
import { OfflineClients } from "./answer/offline-clients.ts";
import { UNLIMITED } from "./channel-policy.ts";
import type { ChannelPolicy } from "./channel-policy.ts";
import { SYSTEM_CLOCK } from "./clock.ts";
import type { Clock } from "./clock.ts";
import type { ClusterMember } from "./cluster/cluster-member.ts";
import { Compaction } from "./compaction.ts";
import type { Compact } from "./compaction.ts";
import type { Answerer, Push, Request } from "./contract.ts";
import { Dedupe } from "./dedupe.ts";
import type { Storing } from "./dedupe.ts";
import { DurableRequests } from "./durable/durable-requests.ts";
import { recover, restoredRequest } from "./durable/recovery.ts";
import type { ReplyTo } from "./durable/recovery.ts";
import { InFlight } from "./in-flight.ts";
import { cancelKnown, findKnown } from "./known-requests.ts";
import type { KnownRequest } from "./known-requests.ts";
import { createRequestLog } from "./request-log.ts";
import type { RequestRecord } from "./request-log.ts";
import { RequestQueue } from "./request/request-queue.ts";
import type { RequestKey } from "./request/request-queue.ts";
import { Statistics } from "./statistics/statistics.ts";
import type { GatewayReport } from "./statistics/status.ts";
import { Accounting } from "./usage/accounts.ts";

export interface GatewayOptions<M> {
  readonly answer: Answerer<M>;
  readonly log: Log;
  /** Whether the log may contain questions and answers. */
  readonly logContent?: boolean;
  /** Concurrent turns; 0 is 16. */
  readonly maxParallelTurns: number;
  readonly turnTimeoutMs: number;
  /** By channel name. */
  readonly policies: ReadonlyMap<string, ChannelPolicy>;
  /** For all channels together; no limits when left out. */
  readonly limits?: Limits;
  /** Holds durable requests, usage counters and all conversations. The caller closes it after the drain. */
  readonly store: Store<M>;
  /** For a store that several gateways share, with its store; absent if this gateway is alone. */
  readonly member?: ClusterMember<M> | undefined;
  /** How long answers are remembered for duplicates; ten minutes when left out. */
  readonly dedupeWindowMs?: number;
  /** How to answer a request that a former process accepted, and how to push. */
  readonly replyTo?: ReplyTo;
  /** The name of the conversation of all clients, if they share one. */
  readonly conversation?: string | undefined;
  /** Makes long conversations shorter, in the background. */
  readonly compact?: Compact<M> | undefined;
  /** Counts what the gateway does; its own if left out. */
  readonly statistics?: Statistics;
  /** Called with each request that has ended. Must not throw or block. */
  readonly trace?: ((entry: RequestRecord) => void) | undefined;
  /** Redacts and bounds the texts of tool calls for `trace`; records have none without it. */
  readonly traceText?: ((text: string) => string) | undefined;
  readonly clock?: Clock;
}

/** Answers any stream of requests with any answerer. */
export interface Gateway {
  /**
   * Accepts a request: every request is answered. Resolves when the transport may acknowledge it, that is
   * when the request or its rejection is stored or need not be. Does not wait for a delivery. Never rejects.
   * Never resolves when the transport has to hold the request for the next start.
   */
  accept(request: Request): Promise<void>;
  /**
   * Sends a message to a client by itself. Resolves when the push is stored, or known by its id: then it is sent once
   * in effect, also after a crash, and kept while its client is away, until it expires. Counts for the budgets of
   * tokens and cost, and for no rate limit. Rejects with a `Failure` of code `forbidden`, `budget`, `expired` or
   * `busy`; after `busy`, which may mean that it is not known whether it is stored, the same push may be tried again.
   */
  push(push: Push): Promise<"accepted" | "known">;
  /**
   * Cancels one request that has no answer yet, wherever a gateway of the store has it; false if there is no such
   * request. It is answered `cancelled`. A crash before that lets a durable request run. Rejects as the store does.
   */
  cancel(request: RequestKey): Promise<boolean>;
  /**
   * What the store has of a durable request: open, or answered within the window for duplicates. Undefined without one.
   * Rejects as the store does.
   */
  find(request: RequestKey): Promise<KnownRequest | undefined>;
  /**
   * Resumes the requests that a former process left; call it before the first `accept`. Returns their
   * number. Rejects with a `Failure` when the store cannot be read.
   */
  resume(): Promise<number>;
  /** Requests that run or wait. */
  readonly load: () => number;
  /** The tokens and the cost of a channel today. */
  readonly usedToday: (channel: string) => { readonly tokens: number; readonly cost: number };
  /** What it has done, and what it does now. */
  readonly report: () => GatewayReport;
  /**
   * Call it when this gateway begins to hear a channel that others of its store heard before: what it has of
   * their rate limits in memory is old.
   */
  readonly distrustUsage: () => void;
  /** Why requests cannot be stored now; undefined when they can. */
  readonly problem: () => string | undefined;
  /**
   * Resolves when this gateway lost what it holds in a shared store: its turns are cancelled, it delivers and stores
   * nothing more, and holds new requests. Undefined if it shares no store.
   */
  readonly lost: Promise<void> | undefined;
  /**
   * Accepts no more requests and waits up to `deadlineMs` for the accepted ones. Then leaves durable
   * requests to the next start, cancels the others, and gives answers 2 s to leave. No timer of the gateway
   * is left when it resolves.
   */
  drain(deadlineMs: number): Promise<DrainResult>;
}

const DEFAULT_TURNS = 16;
const WINDOW_MS = 10 * 60_000;
/** Finished answers of QoS 0, which the store does not have. */
const REMEMBERED = { rows: 4096, bytes: 8 * 2 ** 20 };
const ACCOUNTS = 4096;
/** Of a shared store, whose reads cost more. */
const SHARED_ACCOUNTS = 16_384;

export function createGateway<M>(options: GatewayOptions<M>): Gateway {
  const { clock = SYSTEM_CLOCK, log, member } = options;
  const { statistics = new Statistics(clock, options.logContent ?? false) } = options;
  const parts = createParts(options, clock, statistics);
  const { accounting, durableRequests, acceptor, pusher } = parts;
  let endMaintenance: (() => void) | undefined;
  let drained: Promise<DrainResult> | undefined;

  return {
    load: () => parts.inFlight.count,
    usedToday: (channel) => accounting.usedToday(channel),
    report: () => ({
      statistics: parts.statistics,
      queue: { ...parts.queue.load(), in_flight: parts.inFlight.count },
      accounts: accounting.facts(),
    }),
    problem: durableRequests.problem,
    distrustUsage: accounting.distrust,
    lost: member?.lost.then(() => endLost(parts)),
    accept(asked) {
      const { conversation } = options;
      const request = conversation === undefined ? asked : { ...asked, conversation };
      return acceptor.accept(member?.guarded(request) ?? request).catch((thrown: unknown) => {
        const { message, why } = asFailure(thrown);
        log.error("request could not be accepted", { error: message, why });
      });
    },
    push: async (push) => (await pusher.load()).push(push),
    cancel: (request) => cancelKnown(request, parts),
    find: (request) => findKnown(request, parts),
    async resume() {
      await accounting.load();
      const resumed = await (member === undefined
        ? recover({ ...options, ...parts, clock })
        : member.start(parts));
      if (drained === undefined) endMaintenance = startMaintenance(options, clock, accounting);
      return resumed;
    },
    drain(deadlineMs) {
      endMaintenance?.();
      drained ??= drain(deadlineMs, parts, member).finally(accounting.saveAll);
      return drained;
    },
  };
}

function createParts<M>(options: GatewayOptions<M>, clock: Clock, statistics: Statistics) {
  const { log, policies, member, limits = UNLIMITED } = options;
  const { store } = member ?? options;
  const replyTo = options.replyTo && (member?.guardedReplyTo(options.replyTo) ?? options.replyTo);
  const durableRequests = new DurableRequests<M>({
    store,
    isShared: member !== undefined,
    clock,
    log,
  });
  const accounting = new Accounting({
    policies,
    limits,
    store,
    clock,
    rows: store.clock === undefined ? ACCOUNTS : SHARED_ACCOUNTS,
    onError: durableRequests.reportError,
    ended: statistics.ended,
    traceText: options.traceText,
  });
  const inFlight = new InFlight(clock);
  const writeLog = createRequestLog(log, clock, options.logContent ?? false);
  const write = recording(writeLog, statistics, options.trace);
  const windowMs = options.dedupeWindowMs ?? WINDOW_MS;
  const dedupe = new Dedupe<AnswerStream | Storing>({ clock, windowMs, ...REMEMBERED });
  const restore =
    replyTo &&
    (({ request }: StoredRequest<unknown>): Request => restoredRequest(request, replyTo));
  const kept = { accounting, durableRequests, inFlight, dedupe };
  const shared = { policies, clock, log, ...kept, write, statistics };
  const offline = new OfflineClients({ ...shared, deliver: (answer) => direct.send(answer) });
  const direct = new DirectReplies({ ...shared, restore, offline }, policies.keys());
  const compaction = new Compaction<M>(options, clock);
  const queue = new RequestQueue<M>({
    ...shared,
    restore,
    answerer: options.answer,
    slots: options.maxParallelTurns || DEFAULT_TURNS,
    queued: limits.queued,
    turnTimeoutMs: options.turnTimeoutMs,
    compaction,
    direct,
    offline,
    onSpare: member?.onSpare,
  });
  const admission = new Admission({ ...shared, queue });
  const { conversation } = options;
  const accepting = { ...shared, replyTo, cluster: member, admission, queue, direct, offline };
  const acceptor = new Acceptor<M>(accepting);
  const pusher = new Lazy(async () => {
    const { Pusher } = await import("./push.ts");
    return new Pusher<M>({ ...accepting, conversation });
  });
  return { ...shared, replyTo, direct, offline, compaction, queue, acceptor, pusher };
}

function recording(
  log: (entry: RequestRecord) => void,
  { record }: Statistics,
  trace: GatewayOptions<unknown>["trace"],
): typeof log {
  return (entry) => {
    log(entry);
    record(entry);
    trace?.(entry);
  };
}

/** Twice within the shortest sensible lease. */
const MAINTENANCE_MS = 20_000;

/**
 * Writes the counters, renews the leases of the requests and purges old ones, regularly until the returned
 * function is called.
 */
function startMaintenance<M>(
  { store, log, member }: GatewayOptions<M>,
  clock: Clock,
  accounting: Accounting,
): () => void {
  let isOver = false;
  let cancelTimer: (() => void) | undefined;
  const run = async (): Promise<void> => {
    try {
      accounting.saveAll();
      // A member renews its lease more often.
      if (member === undefined) await store.renew();
      await store.purge();
    } catch (thrown) {
      log.debug("store maintenance failed", { why: asFailure(thrown).why });
    }
    if (!isOver) next();
  };
  const next = (): void => {
    cancelTimer = clock.after(MAINTENANCE_MS, () => void run());
  };
  next();
  return () => {
    isOver = true;
    cancelTimer?.();
  };
}

export interface DrainResult {
  /** Requests that were cancelled at the deadline. */
  readonly cancelled: number;
  /** Requests that the next start answers. */
  readonly resumable: number;
  /** Answers that are lost because they could not be delivered in time. */
  readonly undelivered: number;
}

/** Milliseconds that answers have to leave after the deadline of a drain. */
const FLUSH_MS = 2000;

/** Ends everything at once, after all that is stored was lost to other gateways. */
function endLost<M>(parts: ReturnType<typeof createParts<M>>): void {
  parts.inFlight.close();
  parts.queue.stopAll();
  parts.durableRequests.close();
  parts.offline.close();
  parts.direct.close();
}

/** Waits for work in flight, then leaves durable requests to the next start and cancels the rest. */
async function drain<M>(
  deadlineMs: number,
  {
    queue,
    inFlight,
    direct,
    offline,
    durableRequests,
    compaction,
  }: ReturnType<typeof createParts<M>>,
  member: ClusterMember<M> | undefined,
): Promise<DrainResult> {
  inFlight.close();
  if (member !== undefined) {
    // Others take over what waits here, and answer it.
    offline.close();
    member.leave();
  }
  const compactionClosed = compaction.close();
  let ended = { cancelled: 0, resumable: 0 };
  if (!(await inFlight.empty(deadlineMs))) {
    ended = queue.stopAll();
    durableRequests.close();
    await inFlight.empty(FLUSH_MS);
  }
  durableRequests.close();
  offline.close();
  direct.close();
  await compactionClosed;
  await member?.close();
  const left = queue.abandonUndelivered();
  return {
    cancelled: ended.cancelled,
    undelivered: left.undelivered,
    resumable: ended.resumable + left.resumable,
  };
}
