import type { Allowance } from "../base/contract.ts";
import { failpoint } from "../base/failpoint.ts";
import { asFailure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import type { Conversation, Store } from "../store/contract.ts";
import type { Clock } from "./clock.ts";
import { failureOf, shuttingDown } from "./errors.ts";
import { createTurnCancellation, GRACE_MS } from "./request/turn.ts";
import type { TurnCancellation } from "./request/turn.ts";
/**
 * Makes a conversation shorter: from now on the summary stands for all up to the turn `through`.
 * Undefined where it is short enough. The signal is aborted at the deadline and at shutdown; what it
 * has by then may still be returned. Before each piece of its work it waits for `giveWay`: turns that
 * run go first, and the deadline does not count that. What it asks a model counts against the allowance.
 */
export type Compact<M> = (
  conversation: Conversation<M>,
  signal: AbortSignal,
  giveWay: () => Promise<void>,
  allowance?: Allowance,
) => Promise<{ readonly through: number; readonly summary: M } | undefined>;

export interface CompactionOptions<M> {
  /** Asked each time; without one conversations are left as they are, and are not even read. */
  readonly compactor: () => Compact<M> | undefined;
  readonly store: Pick<Store<M>, "conversation" | "compact">;
  readonly clock: Pick<Clock, "after" | "now">;
  readonly log: Log;
}

export interface Compaction {
  /** A turn begins, which goes first; the returned function says that it ended. */
  readonly turnStarted: () => () => void;
  /** A turn was added to that conversation, which may have become too long, by who has that allowance. */
  readonly turnAdded: (conversation: string, allowance?: Allowance) => void;
  /** Breaks off what runs, at once or when the signal is aborted; resolves when it has ended, or a moment later. */
  readonly close: (over?: AbortSignal) => Promise<void>;
}

const DEADLINE_MS = 120_000;
/** What a shutdown waits for it. */
const SHUTDOWN_WAIT_MS = 250;
/** Conversations that wait; one that finds no place is looked at after its next turn. */
const WAITING = 1024;

/**
 * Condenses conversations beside their turns: one at a time in all, because a board has one model to
 * ask and little memory. A failure is in the log; it is tried again after that conversation's next turn.
 */
export function createCompaction<M>(options: CompactionOptions<M>): Compaction {
  const { compactor, clock, log } = options;
  const turnPriority = createTurnPriority(clock);
  const waiting = new Map<string, Allowance | undefined>();
  let running:
    | { readonly cancellation: TurnCancellation; readonly ended: Promise<void> }
    | undefined;
  let isOpen = true;

  const next = (): void => {
    running = undefined;
    const [first] = waiting;
    const condense = compactor();
    if (condense === undefined || first === undefined) return;
    const [conversation, allowance] = first;
    waiting.delete(conversation);
    const cancellation = createTurnCancellation(clock);
    const deadline = startDeadline(clock, () =>
      cancellation.cancel(failureOf("timeout"), GRACE_MS),
    );
    const giveWay = (): Promise<void> => deadline.without(turnPriority.idle(cancellation.signal));
    const ended = compactOne(
      conversation,
      { cancellation, giveWay, allowance },
      { ...options, condense },
    )
      .catch((thrown: unknown) => {
        const { message, why } = asFailure(cancellation.failure ?? thrown);
        const level = isOpen ? "warn" : "debug";
        log[level]("a conversation could not be summarized", { error: message, why });
      })
      .finally(() => {
        deadline.end();
        cancellation.release();
        if (isOpen) next();
      });
    running = { cancellation, ended };
  };

  return {
    turnStarted: turnPriority.turnStarted,
    turnAdded(conversation, allowance) {
      if (compactor() === undefined || !isOpen || waiting.size >= WAITING) return;
      waiting.set(conversation, allowance);
      if (running === undefined) next();
    },
    async close(over) {
      isOpen = false;
      waiting.clear();
      if (running === undefined) return;
      const { cancellation, ended } = running;
      const pull = (): unknown => cancellation.cancel(shuttingDown("cancelled"), SHUTDOWN_WAIT_MS);
      if (over === undefined || over.aborted) pull();
      else over.addEventListener("abort", pull, { once: true });
      await ended;
    },
  };
}

interface Deadline {
  /** Waits without the deadline coming nearer. */
  readonly without: (waiting: Promise<void>) => Promise<void>;
  readonly end: () => void;
}

function startDeadline(clock: Pick<Clock, "after" | "now">, over: () => void): Deadline {
  let [left, since, isEnded] = [DEADLINE_MS, clock.now(), false];
  let cancelTimer = clock.after(left, over);
  return {
    async without(waiting) {
      cancelTimer();
      left -= clock.now() - since;
      await waiting;
      since = clock.now();
      if (!isEnded) cancelTimer = clock.after(Math.max(0, left), over);
    },
    end() {
      isEnded = true;
      cancelTimer();
    },
  };
}

interface Bounds {
  readonly cancellation: TurnCancellation;
  readonly giveWay: () => Promise<void>;
  readonly allowance: Allowance | undefined;
}

/** Never waits longer than the cancellation: what does not obey is left behind. */
async function compactOne<M>(
  name: string,
  { cancellation, giveWay, allowance }: Bounds,
  { condense, store, clock, log }: CompactionOptions<M> & { readonly condense: Compact<M> },
): Promise<void> {
  const startedAt = clock.now();
  const conversation = await Promise.race([store.conversation(name), cancellation.forced]);
  if (conversation.turns.length === 0) return;
  const result = await Promise.race([
    condense(conversation, cancellation.signal, giveWay, allowance),
    cancellation.forced,
  ]);
  if (result === undefined) return;
  const isCut = await store.compact(name, result.through, result.summary);
  failpoint("condensed");
  const ms = Math.round(clock.now() - startedAt);
  if (isCut) log.info("a conversation was summarized", { ms });
  else log.debug("a summary came too late: the conversation began anew meanwhile", { ms });
}

/** What keeps work that nobody waits for out of the way of turns. */
interface TurnPriority {
  /** A turn begins; the returned function says that it ended. */
  readonly turnStarted: () => () => void;
  /** Resolves when every turn that runs now has ended, at the latest after a while, or when the signal is aborted. */
  readonly idle: (signal: AbortSignal) => Promise<void>;
}

/** For turns that hang: work that waits has its time, too. */
const LONGEST_MS = 60_000;

/**
 * Only what runs already is waited for: under a load that never ends the work goes on as well, and no
 * turn meets more than one piece of it.
 */
function createTurnPriority(clock: Pick<Clock, "after">): TurnPriority {
  const running = new Set<Promise<void>>();
  return {
    turnStarted() {
      const { promise, resolve } = Promise.withResolvers<void>();
      running.add(promise);
      return () => {
        running.delete(promise);
        resolve();
      };
    },
    async idle(signal) {
      if (running.size === 0 || signal.aborted) return;
      const { promise: late, resolve } = Promise.withResolvers<void>();
      const cancelTimer = clock.after(LONGEST_MS, resolve);
      signal.addEventListener("abort", () => resolve(), { once: true });
      await Promise.race([Promise.all(running), late]);
      cancelTimer();
    },
  };
}
