import { Failure } from "../../base/failure.ts";
import type { AnswerStream } from "../answer/answer-stream.ts";
import type { Clock } from "../clock.ts";
import type { Answerer, Turned } from "../contract.ts";
import { failureOf } from "../errors.ts";

/** UTF-16 units of one answer. Longer than any sensible answer; bounds the memory when a model never ends. */
const LONGEST_ANSWER = 2 ** 20;

/**
 * Runs a turn; its text becomes the answer. Rejects as the turn does. After a cancellation its reason is thrown
 * into the turn, and this rejects with it.
 */
export async function runTurn<M>(
  turn: ReturnType<Answerer<M>>,
  answer: AnswerStream,
  cancellation: TurnCancellation,
): Promise<Turned<M>> {
  const { signal } = cancellation;
  for (;;) {
    const step = await turn.next();
    if (!signal.aborted) {
      if (step.done) return step.value;
      const length = answer.length + step.value.length;
      if (length > LONGEST_ANSWER) cancellation.cancel(tooLong(), GRACE_MS);
      else answer.push(step.value);
    }
    if (signal.aborted) {
      await turn.throw(signal.reason);
      throw signal.reason;
    }
  }
}

function tooLong(): Failure {
  const why = `it was longer than ${LONGEST_ANSWER} characters`;
  return new Failure("model", "the answer was too long and was cut off", { why });
}

/** Milliseconds that an answerer has to end after its turn was cancelled; then the turn ends without it. */
export const GRACE_MS = 5000;

/** Cancels one turn. */
export class TurnCancellation {
  /** Aborted by the first `cancel`, with its failure as the reason. */
  readonly signal: AbortSignal;
  /** Rejects when a cancelled turn did not end within its grace; never resolves. */
  readonly forced: Promise<never>;
  /** Whether `forced` has rejected. */
  isForced = false;
  /** The failure of the first `cancel`. */
  failure: Failure | undefined;
  readonly #clock: Pick<Clock, "after">;
  readonly #controller = new AbortController();
  readonly #force: (failure: Failure) => void;
  readonly #timers: (() => void)[] = [];
  #cancelDeadline: (() => void) | undefined;
  #isOver = false;

  constructor(clock: Pick<Clock, "after">) {
    const { promise, reject } = Promise.withResolvers<never>();
    this.#clock = clock;
    this.signal = this.#controller.signal;
    this.forced = promise;
    this.#force = reject;
    // Nobody may be waiting for it.
    promise.catch(() => {});
  }

  /**
   * Cancels the turn with `timeout` after so many milliseconds, undefined is never; replaces the deadline set
   * before.
   */
  timeoutAfter(ms: number | undefined): void {
    this.#cancelDeadline?.();
    if (ms === undefined || this.#isOver) return;
    this.#cancelDeadline = this.#clock.after(ms, () => {
      this.cancel(failureOf("timeout"), GRACE_MS);
    });
  }

  /** Cancels the turn; false when the turn is over. A later call can only shorten the grace. */
  cancel(reason: Failure, graceMs: number): boolean {
    if (this.#isOver) return false;
    const failure = (this.failure ??= reason);
    const force = (): void => {
      this.isForced = true;
      this.#force(failure);
    };
    this.#timers.push(this.#clock.after(graceMs, force));
    this.#controller.abort(failure);
    return true;
  }

  /** The turn is over: stops the timers; `cancel` does nothing from now on. */
  release(): void {
    this.#isOver = true;
    this.#cancelDeadline?.();
    for (const cancelTimer of this.#timers.splice(0)) cancelTimer();
  }
}
