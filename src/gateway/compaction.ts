import { onAbort } from "../base/async.ts";
import type { Allowance } from "../base/contract.ts";
import { failpoint } from "../base/failpoint.ts";
import { asFailure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import type { Conversation, ConversationSize } from "../store/contract/conversations.ts";
import type { Store } from "../store/contract/store.ts";
import type { Clock } from "./clock.ts";
import { shuttingDown } from "./errors.ts";
import { TurnCancellation } from "./request/turn.ts";

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
  /** Read each time. Without it conversations are neither compacted nor read. */
  readonly compact?: Compact<M> | undefined;
  readonly store: Pick<Store<M>, "size" | "conversation" | "compact">;
  readonly log: Log;
}

const DEADLINE_MS = 120_000;
/** How long a shutdown waits for a compaction. */
const SHUTDOWN_WAIT_MS = 250;
/** Conversations that wait. One beyond that is checked again after its next turn. */
const WAITING = 1024;

interface Bounds {
  readonly cancellation: TurnCancellation;
  readonly giveWay: () => Promise<void>;
  readonly allowance: Allowance | undefined;
}

/** The longest wait for turns, which may hang. */
const LONGEST_MS = 60_000;

/**
 * Compacts conversations in the background, one at a time: a small board has one model and little memory.
 * A failure is logged, and the conversation is tried again after its next turn.
 */
export class Compaction<M> {
  readonly #options: CompactionOptions<M>;
  readonly #clock: Pick<Clock, "after" | "now">;
  /** Resolve when the turn has ended. */
  readonly #turns = new Set<Promise<void>>();
  readonly #waiting = new Map<string, Allowance | undefined>();
  #running: { readonly cancellation: TurnCancellation; readonly ended: Promise<void> } | undefined;
  #isOpen = true;

  constructor(options: CompactionOptions<M>, clock: Pick<Clock, "after" | "now">) {
    this.#options = options;
    this.#clock = clock;
  }

  /** A turn starts, and compaction makes way for it; call the returned function when the turn ends. */
  turnStarted(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#turns.add(promise);
    return () => {
      this.#turns.delete(promise);
      resolve();
    };
  }

  /** A turn was added to the conversation, which may be too long now. `allowance` is that of its client. */
  turnAdded(conversation: string, allowance?: Allowance): void {
    const isFull = this.#waiting.size >= WAITING;
    if (this.#options.compact === undefined || !this.#isOpen || isFull) return;
    this.#waiting.set(conversation, allowance);
    if (this.#running === undefined) this.#next();
  }

  /** Cancels a running compaction, now or when the signal is aborted. Resolves when it has ended, 250 ms later at most. */
  async close(over?: AbortSignal): Promise<void> {
    this.#isOpen = false;
    this.#waiting.clear();
    if (this.#running === undefined) return;
    const { cancellation, ended } = this.#running;
    const cancel = (): unknown => cancellation.cancel(shuttingDown("cancelled"), SHUTDOWN_WAIT_MS);
    if (over === undefined) cancel();
    else onAbort(over, cancel);
    await ended;
  }

  #next(): void {
    this.#running = undefined;
    const [first] = this.#waiting;
    const compact = this.#options.compact;
    if (compact === undefined || first === undefined) return;
    const [conversation, allowance] = first;
    this.#waiting.delete(conversation);
    const cancellation = new TurnCancellation(this.#clock);
    const giveWay = this.#startDeadline(cancellation);
    const ended = this.#compactOne(conversation, compact, { cancellation, giveWay, allowance });
    this.#running = { cancellation, ended };
  }

  /** Starts the deadline; the returned function waits for the running turns while the deadline stands still. */
  #startDeadline(cancellation: TurnCancellation): () => Promise<void> {
    const clock = this.#clock;
    let [left, since] = [DEADLINE_MS, clock.now()];
    cancellation.timeoutAfter(left);
    return async () => {
      cancellation.timeoutAfter(undefined);
      left -= clock.now() - since;
      await this.#idle(cancellation.signal);
      since = clock.now();
      cancellation.timeoutAfter(Math.max(0, left));
    };
  }

  /**
   * Resolves when every turn that runs now has ended, when the signal is aborted, or after a minute. Waits
   * only for turns already running, so that compaction is not starved under constant load.
   */
  async #idle(signal: AbortSignal): Promise<void> {
    if (this.#turns.size === 0 || signal.aborted) return;
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const cancelTimer = this.#clock.after(LONGEST_MS, resolve);
    const stopListening = onAbort(signal, resolve);
    await Promise.race([Promise.all(this.#turns), late]);
    cancelTimer();
    stopListening();
  }

  /** Logs a failure; never rejects. */
  async #compactOne(conversation: string, compact: Compact<M>, bounds: Bounds): Promise<void> {
    const { cancellation } = bounds;
    try {
      await this.#compact(conversation, compact, bounds);
    } catch (thrown) {
      const { message, why } = asFailure(cancellation.failure ?? thrown);
      const level = this.#isOpen ? "warn" : "debug";
      this.#options.log[level]("conversation could not be summarized", { error: message, why });
    }
    cancellation.release();
    if (this.#isOpen) this.#next();
  }

  /** Returns when the cancellation is forced, even if the work does not end. */
  async #compact(
    name: string,
    compact: Compact<M>,
    { cancellation, giveWay, allowance }: Bounds,
  ): Promise<void> {
    const { store, log } = this.#options;
    const startedAt = this.#clock.now();
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
    const ms = Math.round(this.#clock.now() - startedAt);
    if (isCut) log.info("conversation summarized", { ms });
    else log.debug("summary dropped: the conversation began anew meanwhile", { ms });
  }
}
