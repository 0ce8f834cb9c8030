import { Failure } from "../base/failure.ts";
import type { Clock } from "./clock.ts";
import type { Answerer, Turned } from "./contract.ts";
import { failureOf, wireFailureOf } from "./failures.ts";
import { GRACE_MS } from "./leash.ts";
import type { Leash } from "./leash.ts";
import type { Answer } from "./parts.ts";

/** UTF-16 units of one answer: beyond any sensible one, so a model that never ends costs bounded memory. */
const LONGEST_ANSWER = 2 ** 20;

export interface TurnOptions<M> {
  readonly answerer: Answerer<M>;
  readonly turn: Parameters<Answerer<M>>[0];
  readonly answer: Answer;
  readonly leash: Leash;
  readonly timeoutMs: number;
  readonly clock: Pick<Clock, "after">;
}

export type Outcome<M> =
  | { readonly turned: Turned<M> }
  /**
   * `failure` is fit for the wire, `thrown` is what it came from, with all the facts. `abandoned`: the
   * answerer did not obey and may still be at work.
   */
  | { readonly failure: Failure; readonly thrown: unknown; readonly abandoned: boolean };

/** Runs one turn to its end, at the latest `timeoutMs` and a grace after its start. Never throws. */
export async function runTurn<M>(options: TurnOptions<M>): Promise<Outcome<M>> {
  const { leash, clock, timeoutMs } = options;
  let ended = false;
  const callOff = clock.after(timeoutMs, () => leash.pull(failureOf("timeout"), GRACE_MS));
  try {
    const turn = consume(options).finally(() => {
      ended = true;
    });
    return { turned: await Promise.race([turn, leash.givenUp]) };
  } catch (caught) {
    const thrown = leash.failure ?? caught;
    return { failure: wireFailureOf(thrown), thrown, abandoned: !ended };
  } finally {
    callOff();
  }
}

async function consume<M>(options: TurnOptions<M>): Promise<Turned<M>> {
  const { answerer, answer, leash } = options;
  const { signal } = leash;
  const turn = answerer(options.turn);
  for (;;) {
    const step = await turn.next();
    if (!signal.aborted && step.done) return step.value;
    if (!signal.aborted && !step.done) take(step.value, answer, leash);
    if (signal.aborted) {
      await turn.throw(signal.reason);
      throw signal.reason;
    }
  }
}

function take(text: string, answer: Answer, leash: Leash): void {
  if (answer.length + text.length > LONGEST_ANSWER) leash.pull(tooLong(), GRACE_MS);
  else answer.push(text);
}

function tooLong(): Failure {
  const why = `it was longer than ${LONGEST_ANSWER} characters`;
  return new Failure("model", "the answer grew too long and was cut off", { why });
}
