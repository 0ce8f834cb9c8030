import type { Limits } from "../base/contract.ts";
import { asFailure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import type { Held, Store } from "../store/contract.ts";
import { createAcceptance } from "./accept.ts";
import { createAccounting } from "./accounts/accounting.ts";
import { createAdmission } from "./admission.ts";
import { createChannelReplies } from "./channel-replies.ts";
import { SYSTEM_CLOCK } from "./clock.ts";
import type { Clock } from "./clock.ts";
import { createCondensing } from "./condense.ts";
import type { Condense } from "./condense.ts";
import type { Answerer, Request } from "./contract.ts";
import { createDedupe } from "./dedupe.ts";
import { drain } from "./drain.ts";
import type { DrainResult } from "./drain.ts";
import { keepHouse } from "./house.ts";
import { createPersistence } from "./insist.ts";
import { createJournal } from "./journal.ts";
import type { Known, Storing } from "./known.ts";
import { createLedger } from "./ledger.ts";
import { UNLIMITED } from "./limits.ts";
import type { ChannelPolicy } from "./limits.ts";
import { recover, restoredRequest } from "./recovery.ts";
import type { ReplyTo } from "./recovery.ts";
import { createRequestQueue } from "./request-queue.ts";
import { createTally } from "./tally.ts";

export interface GatewayOptions<M> {
  readonly answer: Answerer<M>;
  readonly log: Log;
  /** Whether questions and answers may stand in the log. */
  readonly logContent?: boolean;
  /** Turns side by side; 0 is 16. */
  readonly maxParallelTurns: number;
  readonly turnTimeoutMs: number;
  /** By the channel's name. */
  readonly policies: ReadonlyMap<string, ChannelPolicy>;
  /** For all channels together; none where they are left out. */
  readonly limits?: Limits;
  /** Keeps durable requests, and all conversations. The gateway's owner closes it, after the drain. */
  readonly store: Store<M>;
  /** How long answers are remembered for duplicates; ten minutes. */
  readonly dedupeWindowMs?: number;
  /** The way back to the asker of a request that a former process accepted. */
  readonly replyTo?: ReplyTo;
  /** Makes long conversations shorter, beside the turns and never in their way. */
  readonly condense?: Condense<M> | undefined;
  readonly clock?: Clock;
}

/** Any stream of requests × any answerer. */
export interface Gateway {
  /**
   * Takes a request over: whatever becomes of it, it is answered. Resolves when the transport may
   * acknowledge it: it or its rejection is stored, or need not be. Waits for no delivery. Never rejects;
   * never resolves where the transport has to hold it for the next start.
   */
  accept(request: Request): Promise<void>;
  /**
   * Takes up what a former process left, before the first request of this one. Rejects with a `Failure`
   * when the store cannot be read. Says how many requests that are.
   */
  resume(): Promise<number>;
  /** Why requests cannot be stored at the moment; undefined while they can. */
  readonly problem: () => string | undefined;
  /**
   * Takes no more requests, lets those it has end within `deadlineMs`, then cancels what is left and
   * gives the answers a last moment. Resolves at the latest a few seconds after the deadline; no timer
   * of the gateway is left then.
   */
  drain(deadlineMs: number): Promise<DrainResult>;
}

const DEFAULT_TURNS = 16;
const WINDOW_MS = 10 * 60_000;
/** Answers to requests of QoS 0, which no store remembers. */
const REMEMBERED = { rows: 4096, bytes: 8 * 2 ** 20 };
const ACCOUNTS = 4096;

export function createGateway<M>(options: GatewayOptions<M>): Gateway {
  const { clock = SYSTEM_CLOCK, log, store } = options;
  let isOpen = true;
  const parts = createParts(options, clock, () => isOpen);
  const { accounting, ledger, accept } = parts;
  const house = keepHouse({ store, clock, log, keepCounts: accounting.keepAll });
  let drained: Promise<DrainResult> | undefined;

  return {
    problem: ledger.problem,
    accept: (request) =>
      accept(request).catch((thrown: unknown) => {
        const { message, why } = asFailure(thrown);
        log.error("a request could not be taken", { error: message, why });
      }),
    async resume() {
      await accounting.load();
      house.begin();
      return await recover({ ...options, ...parts, clock });
    },
    drain(deadlineMs) {
      isOpen = false;
      house.end();
      drained ??= drain(deadlineMs, parts).finally(accounting.keepAll);
      return drained;
    },
  };
}

function createParts<M>(options: GatewayOptions<M>, clock: Clock, isOpen: () => boolean) {
  const { log, policies, store, limits = UNLIMITED, replyTo } = options;
  const persistence = createPersistence(clock, log);
  const accounting = createAccounting({
    policies,
    limits,
    store,
    clock,
    rows: ACCOUNTS,
    tell: persistence.tell,
  });
  const ledger = createLedger<M>({ store, clock, persistence });
  const tally = createTally(clock);
  const write = createJournal(log, clock, options.logContent ?? false);
  const windowMs = options.dedupeWindowMs ?? WINDOW_MS;
  const dedupe = createDedupe<Known | Storing>({ clock, windowMs, ...REMEMBERED });
  const restore =
    replyTo && (({ ticket }: Held<unknown>): Request => restoredRequest(ticket, replyTo));
  const dropped = (request: Request): void => accounting.refused(request, "dropped");
  const direct = createChannelReplies(
    { clock, log, ledger, tally, write, restore, dropped },
    policies.keys(),
  );
  const condensing = createCondensing<M>({ condenser: () => options.condense, store, clock, log });
  const queue = createRequestQueue<M>({
    answerer: options.answer,
    slots: options.maxParallelTurns || DEFAULT_TURNS,
    queued: limits.queued,
    allowanceOf: accounting.allowanceOf,
    prepare: accounting.prepare,
    turnTimeoutMs: options.turnTimeoutMs,
    clock,
    ledger,
    dedupe,
    tally,
    write,
    condensing,
    direct,
    policies,
    restore,
  });
  const admission = createAdmission({ policies, accounting, dedupe, queue, clock, isOpen });
  const accept = createAcceptance<M>({
    admission,
    queue,
    direct,
    dedupe,
    ledger,
    accounting,
    tally,
    clock,
    log,
    write,
  });
  return { accounting, ledger, tally, direct, condensing, queue, accept };
}
