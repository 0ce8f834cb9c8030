import { asFailure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import { createAdmission } from "./admission.ts";
import type { Decision } from "./admission.ts";
import { createAside } from "./aside.ts";
import type { Aside } from "./aside.ts";
import { SYSTEM_CLOCK } from "./clock.ts";
import type { Clock } from "./clock.ts";
import type { Answerer, Request } from "./contract.ts";
import { createConversations } from "./conversations.ts";
import { createDedupe } from "./dedupe.ts";
import type { Dedupe } from "./dedupe.ts";
import { createJournal } from "./journal.ts";
import { weigh } from "./known.ts";
import type { Known } from "./known.ts";
import { createRates } from "./limits.ts";
import type { ChannelPolicy } from "./limits.ts";
import { laneOf } from "./names.ts";
import { createNotices } from "./notices.ts";
import { createReplies } from "./replies.ts";
import type { Replies } from "./replies.ts";
import { createTally } from "./tally.ts";
import type { Tally } from "./tally.ts";
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
  readonly clock?: Clock;
}

/** Any stream of requests × any answerer. */
export interface Gateway {
  /** Takes a request over: whatever becomes of it, it is answered. Never throws, never waits. */
  accept(request: Request): void;
  /**
   * Takes no more requests, lets those it has end within `deadlineMs`, then cancels what is left and
   * gives the answers a last moment. Resolves at the latest a few seconds after the deadline; no timer
   * of the gateway is left then.
   */
  drain(deadlineMs: number): Promise<DrainResult>;
}

export interface DrainResult {
  /** Requests that were cancelled at the deadline. */
  readonly cancelled: number;
  /** Answers that were still not delivered at the very end. */
  readonly undelivered: number;
}

const DEFAULT_TURNS = 16;
const REMEMBERED = { windowMs: 10 * 60_000, rows: 4096, bytes: 8 * 2 ** 20 };
const KEPT = {
  messages: 100,
  conversations: 1000,
  characters: 8 * 2 ** 20,
  idleMs: 24 * 60 * 60_000,
};
const FORBIDDEN = { everyMs: 60_000, rows: 1024 };
const REPLIES = { perLane: 64, inAll: 4096 };
const RATED_CLIENTS = 4096;
/** Milliseconds that answers have to leave after the deadline of a drain. */
const FLUSH_MS = 2000;

export function createGateway<M>(options: GatewayOptions<M>): Gateway {
  const { clock = SYSTEM_CLOCK, log, policies } = options;
  let isOpen = true;
  const tally = createTally(clock);
  const write = createJournal(log, clock, options.logContent ?? false);
  const dedupe = createDedupe<Known>({ clock, ...REMEMBERED });
  const conversations = createConversations<M>({ clock, ...KEPT });
  const work = createWork<M>({
    answerer: options.answer,
    slots: options.maxParallelTurns || DEFAULT_TURNS,
    turnTimeoutMs: options.turnTimeoutMs,
    clock,
    conversations,
    dedupe,
    tally,
    write,
  });
  const replies = createReplies({ clock, log, ...REPLIES });
  const forbidden = createNotices({ clock, ...FORBIDDEN });
  const aside = createAside({ clock, log, replies, forbidden, tally, write });
  const rates = createRates(clock, RATED_CLIENTS);
  const decide = createAdmission({ policies, rates, dedupe, work, clock, isOpen: () => isOpen });
  let drained: Promise<DrainResult> | undefined;

  return {
    accept(request) {
      try {
        carryOut(decide(request), request, { work, aside, dedupe });
      } catch (thrown) {
        aside.refuse(request, asFailure(thrown));
      }
    },
    drain(deadlineMs) {
      isOpen = false;
      drained ??= drain(deadlineMs, { work, tally, replies });
      return drained;
    },
  };
}

interface Hands {
  readonly work: Work;
  readonly aside: Aside;
  readonly dedupe: Dedupe<Known>;
}

function carryOut(decision: Decision, request: Request, { work, aside, dedupe }: Hands): void {
  switch (decision.to) {
    case "run":
      return work.add(request, decision.policy);
    case "refuse":
      return aside.refuse(request, decision.failure);
    case "join":
      return aside.share(request, decision.known, "joined");
    case "repeat":
      return aside.share(request, decision.known, "repeated");
    case "stop": {
      const stopped = work.stop(laneOf(request));
      const known = aside.say(request, stopped ? "Stopped." : "Nothing to stop.");
      // A second delivery of this command must not stop what was asked after it.
      if (!decision.remember) return;
      dedupe.begin(request, known);
      dedupe.finish(request, known, weigh(known));
    }
  }
}

interface Draining {
  readonly work: Work;
  readonly tally: Tally;
  readonly replies: Replies;
}

async function drain(deadlineMs: number, { work, tally, replies }: Draining): Promise<DrainResult> {
  tally.close();
  let cancelled = 0;
  if (!(await tally.empty(deadlineMs))) {
    cancelled = work.stopAll();
    await tally.empty(FLUSH_MS);
  }
  replies.close();
  return { cancelled, undelivered: work.giveUp() };
}
