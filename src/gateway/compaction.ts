import { onAbort } from "../base/async.ts";
import type { Allowance } from "../base/contract.ts";
import { failpoint } from "../base/failpoint.ts";
import { asFailure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import type { Conversation, ConversationSize, Store } from "../store/contract.ts";
import type { Clock } from "./clock.ts";
import { failureOf, shuttingDown } from "./errors.ts";
import { GRACE_MS, TurnCancellation } from "./request/turn.ts";

/**
 * Makes a conversation shorter: the summary replaces all turns up to `through`. Returns undefined when the
 * conversation is short enough. The signal is aborted at the deadline and at shutdown; a result that exists
 * by then may still be returned. Await `giveWay` before each model call: running turns go first, and that
 * wait does not count against the deadline. The model calls count against the allowance.
 */
export interface Compact<M> {
  (
    conversation: Conversation<M>,
    signal: AbortSignal,
    giveWay: () => Promise<void>,
    allowance?: Allowance,
  ): Promise<{ readonly through: number; readonly summary: M } | undefined>;
  /** False if a conversation of that size is short enough: then it is not even read. */
  readonly isDue?: (size: ConversationSize) => boolean;
}

export interface CompactionOptions<M> {
  /** Called each time. Without a result conversations are neither compacted nor read. */
  readonly compactor: () => Compact<M> | undefined;
  readonly store: Pick<Store<M>, "size" | "conversation" | "compact">;
  readonly clock: Pick<Clock, "after" | "now">;
  readonly log: Log;
}

export interface Compaction {
  /** A turn starts, and compaction makes way for it; call the returned function when the turn ends. */
  readonly turnStarted: () => () => void;
  /** A turn was added to the conversation, which may be too long now. `allowance` is that of its client. */
  readonly turnAdded: (conversation: string, allowance?: Allowance) => void;
  /** Cancels a running compaction, now or when the signal is aborted. Resolves when it has ended, 250 ms later at most. */
  readonly close: (over?: AbortSignal) => Promise<void>;
}

const DEADLINE_MS = 120_000;
/** How long a shutdown waits for a compaction. */
const SHUTDOWN_WAIT_MS = 250;
/** Conversations that wait. One beyond that is checked again after its next turn. */
const WAITING = 1024;

/**
 * Compacts conversations in the background, one at a time: a small board has one model and little memory.
 * A failure is logged, and the conversation is tried again after its next turn.
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
    const compact = compactor();
    if (compact === undefined || first === undefined) return;
    const [conversation, allowance] = first;
    waiting.delete(conversation);
    const cancellation = new TurnCancellation(clock);
    const deadline = startDeadline(clock, () =>
      cancellation.cancel(failureOf("timeout"), GRACE_MS),
    );
    const giveWay = (): Promise<void> => deadline.without(turnPriority.idle(cancellation.signal));
    const ended = compactOne(
      conversation,
      { cancellation, giveWay, allowance },
      { ...options, compact },
    )
      .catch((thrown: unknown) => {
        const { message, why } = asFailure(cancellation.failure ?? thrown);
        const level = isOpen ? "warn" : "debug";
        log[level]("conversation could not be summarized", { error: message, why });
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
      const cancel = (): unknown =>
        cancellation.cancel(shuttingDown("cancelled"), SHUTDOWN_WAIT_MS);
      if (over === undefined) cancel();
      else onAbort(over, cancel);
      await ended;
    },
  };
}

interface Deadline {
  /** Waits while the deadline stands still. */
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

/** Returns when the cancellation is forced, even if the work does not end. */
async function compactOne<M>(
  name: string,
  { cancellation, giveWay, allowance }: Bounds,
  { compact, store, clock, log }: CompactionOptions<M> & { readonly compact: Compact<M> },
): Promise<void> {
  const startedAt = clock.now();
  if (compact.isDue !== undefined) {
    const size = await Promise.race([store.size(name), cancellation.forced]);
    if (!compact.isDue(size)) return;
  }
  const conversation = await Promise.race([store.conversation(name), cancellation.forced]);
  if (conversation.turns.length === 0) return;
  const result = await Promise.race([
    compact(conversation, cancellation.signal, giveWay, allowance),
    cancellation.forced,
  ]);
  if (result === undefined) return;
  const isCut = await store.compact(name, result.through, result.summary);
  failpoint("condensed");
  const ms = Math.round(clock.now() - startedAt);
  if (isCut) log.info("conversation summarized", { ms });
  else log.debug("summary dropped: the conversation began anew meanwhile", { ms });
}

/** Gives turns priority over background work. */
interface TurnPriority {
  /** A turn starts; call the returned function when it ends. */
  readonly turnStarted: () => () => void;
  /** Resolves when every turn that runs now has ended, when the signal is aborted, or after a minute. */
  readonly idle: (signal: AbortSignal) => Promise<void>;
}

/** The longest wait for turns, which may hang. */
const LONGEST_MS = 60_000;

/** Waits only for turns already running, so that compaction is not starved under constant load. */
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
      const stopListening = onAbort(signal, resolve);
      await Promise.race([Promise.all(running), late]);
      cancelTimer();
      stopListening();
    },
  };
}
