import { asFailure } from "../base/failure.ts";
import type { Failure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import type { Store } from "../store/contract.ts";
import { createAccounting } from "./accounts/accounting.ts";
import type { Accounting } from "./accounts/accounting.ts";
import { createAdmission } from "./admission.ts";
import type { Decision } from "./admission.ts";
import { createAside } from "./aside.ts";
import type { Aside } from "./aside.ts";
import { SYSTEM_CLOCK } from "./clock.ts";
import type { Clock } from "./clock.ts";
import { createCondensing } from "./condense.ts";
import type { Condense } from "./condense.ts";
import type { Answerer, Request } from "./contract.ts";
import { createDedupe } from "./dedupe.ts";
import type { Dedupe } from "./dedupe.ts";
import { drain } from "./drain.ts";
import type { DrainResult } from "./drain.ts";
import { keepHouse } from "./house.ts";
import { createPersistence } from "./insist.ts";
import { createJournal } from "./journal.ts";
import { weigh } from "./known.ts";
import type { Known } from "./known.ts";
import { createLedger } from "./ledger.ts";
import { UNLIMITED } from "./limits.ts";
import type { ChannelPolicy, Limits } from "./limits.ts";
import { laneOf } from "./names.ts";
import { createNotices } from "./notices.ts";
import { createReplies } from "./replies.ts";
import { resume } from "./resume.ts";
import type { Asker } from "./resume.ts";
import { createTally } from "./tally.ts";
import { createWork } from "./work.ts";
import type { Work } from "./work.ts";

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
  readonly replyTo?: (channel: string, asker: Asker) => Request["reply"];
  /** Makes long conversations shorter, beside the turns and never in their way. */
  readonly condense?: Condense<M> | undefined;
  readonly clock?: Clock;
}

/** Any stream of requests × any answerer. */
export interface Gateway {
  /**
   * Takes a request over: whatever becomes of it, it is answered. Resolves when the transport may
   * acknowledge it: it is stored, or its refusal was delivered. Never rejects; never resolves where the
   * transport has to hold it for the next start.
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
const REMEMBERED = { rows: 4096, bytes: 8 * 2 ** 20 };
const FORBIDDEN = { everyMs: 60_000, rows: 1024 };
/** Fewer for one client than the transport has under way at once: refusals of a flood leave room for answers. */
const REPLIES = { perLane: 16, inAll: 1024 };
const ACCOUNTS = 4096;

export function createGateway<M>(options: GatewayOptions<M>): Gateway {
  const { clock = SYSTEM_CLOCK, log, policies, store } = options;
  let isOpen = true;
  const parts = createParts(options, clock);
  const { accounting, ledger, dedupe, work } = parts;
  const decide = createAdmission({ ...parts, policies, clock, isOpen: () => isOpen });
  const house = keepHouse({ store, clock, log, keepCounts: accounting.keepAll });
  let drained: Promise<DrainResult> | undefined;

  return {
    problem: ledger.problem,
    accept(request) {
      try {
        return carryOut(decide(request), request, parts);
      } catch (thrown) {
        return refuse(request, asFailure(thrown), parts);
      }
    },
    async resume() {
      await accounting.load();
      house.begin();
      return await resume({ ...options, clock, work, dedupe });
    },
    drain(deadlineMs) {
      isOpen = false;
      house.end();
      drained ??= drain(deadlineMs, parts).finally(accounting.keepAll);
      return drained;
    },
  };
}

function createParts<M>(options: GatewayOptions<M>, clock: Clock) {
  const { log, policies, store, limits = UNLIMITED } = options;
  const persistence = createPersistence(clock, log);
  const accounting = createAccounting({
    policies,
    limits,
    store,
    clock,
    rows: ACCOUNTS,
    tell: persistence.tell,
  });
  const ledger = createLedger<M>({ store: charging(store, accounting), clock, persistence });
  const tally = createTally(clock);
  const write = createJournal(log, clock, options.logContent ?? false);
  const dedupe = createRemembered(options.dedupeWindowMs, clock);
  const replies = createReplies({ clock, log, ...REPLIES });
  const forbidden = createNotices({ clock, ...FORBIDDEN });
  const aside = createAside({ clock, log, replies, forbidden, tally, write });
  const condensing = createCondensing<M>({ condenser: () => options.condense, store, clock, log });
  const work = createWork<M>({
    answerer: options.answer,
    slots: options.maxParallelTurns || DEFAULT_TURNS,
    queued: limits.queued,
    allowanceOf: accounting.allowanceOf,
    turnTimeoutMs: options.turnTimeoutMs,
    clock,
    ledger,
    dedupe,
    tally,
    write,
    condensing,
    troubled: (request, failure) => void aside.refuse(request, failure),
  });
  return { accounting, ledger, tally, dedupe, replies, aside, condensing, work };
}

/** Keeps what a request is charged before the request itself: in one transaction, where they come in one go. */
function charging<M>(store: Store<M>, { keep }: Pick<Accounting, "keep">): Store<M> {
  return {
    ...store,
    accept(ticket) {
      keep();
      return store.accept(ticket);
    },
  };
}

function createRemembered(windowMs = WINDOW_MS, clock: Clock): Dedupe<Known> {
  return createDedupe<Known>({ clock, windowMs, ...REMEMBERED });
}

interface Hands<M> {
  readonly work: Work<M>;
  readonly aside: Aside;
  readonly dedupe: Dedupe<Known>;
  readonly accounting: Pick<Accounting, "refused">;
}

function carryOut<M>(decision: Decision, request: Request, hands: Hands<M>): Promise<void> {
  const { work, aside } = hands;
  switch (decision.to) {
    case "run":
      return work.add(request, decision.policy);
    case "refuse":
      return refuse(request, decision.failure, hands);
    case "join":
      return aside.share(request, decision.known, "joined");
    case "repeat":
      return aside.share(request, decision.known, "repeated");
    case "leave":
      return new Promise(() => {});
    case "stop":
      return stop(decision.remember, request, hands);
  }
  return decision satisfies never;
}

function stop<M>(
  remember: boolean,
  request: Request,
  { work, aside, dedupe }: Hands<M>,
): Promise<void> {
  const stopped = work.stop(laneOf(request));
  const known = aside.say(request, stopped ? "Stopped." : "Nothing to stop.", !remember);
  // A second delivery of this command must not stop what was asked after it.
  if (remember) {
    dedupe.begin(request, known);
    dedupe.finish(request, known, weigh(known));
  }
  return known.stored;
}

/** While a refusal is on its way, a second delivery of the same request is refused with it, not taken. */
async function refuse<M>(
  request: Request,
  failure: Failure,
  { aside, dedupe, accounting }: Omit<Hands<M>, "work">,
): Promise<void> {
  accounting.refused(request, failure.code);
  const known = aside.refuse(request, failure);
  if (known === undefined) return;
  if (request.durable) dedupe.begin(request, known);
  await known.stored;
  dedupe.forget(request, known);
}
