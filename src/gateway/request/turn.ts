import { Failure } from "../../base/failure.ts";
import type { AnswerStream } from "../answer/answer-stream.ts";
import type { Clock } from "../clock.ts";
import type { Answerer, Turned } from "../contract.ts";
import { failureOf, wireFailureOf } from "../errors.ts";

/** UTF-16 units of one answer. Longer than any sensible answer; bounds the memory when a model never ends. */
const LONGEST_ANSWER = 2 ** 20;

export interface RunTurnOptions<M> {
  readonly answerer: Answerer<M>;
  readonly turn: Parameters<Answerer<M>>[0];
  readonly answer: AnswerStream;
  readonly cancellation: TurnCancellation;
  readonly timeoutMs: number;
  readonly clock: Pick<Clock, "after">;
}

export type Outcome<M> =
  | { readonly turned: Turned<M> }
  /**
   * `failure` is for the wire, `thrown` is the original with all facts. `abandoned`: the answerer ignored the
   * signal and may still run.
   */
  | { readonly failure: Failure; readonly thrown: unknown; readonly abandoned: boolean };

/** Runs one turn. Ends `timeoutMs` and a grace after the start at the latest. Never throws. */
export async function runTurn<M>(options: RunTurnOptions<M>): Promise<Outcome<M>> {
  const { cancellation, clock, timeoutMs } = options;
  let ended = false;
  const cancelTimer = clock.after(timeoutMs, () =>
    cancellation.cancel(failureOf("timeout"), GRACE_MS),
  );
  try {
    const turn = consume(options).finally(() => {
      ended = true;
    });
    return { turned: await Promise.race([turn, cancellation.forced]) };
  } catch (caught) {
    const thrown = cancellation.failure ?? caught;
    return { failure: wireFailureOf(thrown), thrown, abandoned: !ended };
  } finally {
    cancelTimer();
  }
}

async function consume<M>(options: RunTurnOptions<M>): Promise<Turned<M>> {
  const { answerer, answer, cancellation } = options;
  const { signal } = cancellation;
  const turn = answerer(options.turn);
  for (;;) {
    const step = await turn.next();
    if (!signal.aborted && step.done) return step.value;
    if (!signal.aborted && !step.done) take(step.value, answer, cancellation);
    if (signal.aborted) {
      await turn.throw(signal.reason);
      throw signal.reason;
    }
  }
}

function take(text: string, answer: AnswerStream, cancellation: TurnCancellation): void {
  if (answer.length + text.length > LONGEST_ANSWER) cancellation.cancel(tooLong(), GRACE_MS);
  else answer.push(text);
}

function tooLong(): Failure {
  const why = `it was longer than ${LONGEST_ANSWER} characters`;
  return new Failure("model", "the answer was too long and was cut off", { why });
}

/** Cancels one turn. */
export interface TurnCancellation {
  /** Aborted by the first `cancel`, with its failure as the reason. */
  readonly signal: AbortSignal;
  /** The failure of the first `cancel`. */
  readonly failure: Failure | undefined;
  /** Rejects when a cancelled turn did not end within its grace; never resolves. */
  readonly forced: Promise<never>;
  /** Cancels the turn; false when the turn is over. A later call can only shorten the grace. */
  cancel(failure: Failure, graceMs: number): boolean;
  /** The turn is over: stops the timers; `cancel` does nothing from now on. */
  release(): void;
}

/** Milliseconds that an answerer has to end after its turn was cancelled; then the turn ends without it. */
export const GRACE_MS = 5000;

/** A cancellation that was not used yet. */
export function createTurnCancellation(clock: Pick<Clock, "after">): TurnCancellation {
  const controller = new AbortController();
  const timers: (() => void)[] = [];
  let failure: Failure | undefined;
  let released = false;
  const { promise: forced, reject: force } = Promise.withResolvers<never>();
  // Nobody may be waiting for it.
  forced.catch(() => {});

  return {
    signal: controller.signal,
    get failure() {
      return failure;
    },
    forced,
    cancel(reason, graceMs) {
      if (released) return false;
      failure ??= reason;
      const first = failure;
      timers.push(clock.after(graceMs, () => force(first)));
      controller.abort(first);
      return true;
    },
    release() {
      released = true;
      for (const cancelTimer of timers.splice(0)) cancelTimer();
    },
  };
}
