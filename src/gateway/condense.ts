import type { Allowance } from "../base/contract.ts";
import { asFailure } from "../base/failure.ts";
import { faultPoint } from "../base/faults.ts";
import type { Log } from "../base/log.ts";
import type { Conversation, Store } from "../store/contract.ts";
import type { Clock } from "./clock.ts";
import { failureOf, shuttingDown } from "./failures.ts";
import { createLeash, GRACE_MS } from "./leash.ts";
import type { Leash } from "./leash.ts";
import { createRightOfWay } from "./right-of-way.ts";

/**
 * Makes a conversation shorter: from now on the summary stands for all up to the turn `through`.
 * Undefined where it is short enough. The signal is aborted at the deadline and at shutdown; what it
 * has by then may still be returned. Before each piece of its work it waits for `giveWay`: turns that
 * run go first, and the deadline does not count that. What it asks a model counts against the allowance.
 */
export type Condense<M> = (
  conversation: Conversation<M>,
  signal: AbortSignal,
  giveWay: () => Promise<void>,
  allowance?: Allowance,
) => Promise<{ readonly through: number; readonly summary: M } | undefined>;

export interface CondensingOptions<M> {
  /** Asked each time; without one conversations are left as they are, and are not even read. */
  readonly condenser: () => Condense<M> | undefined;
  readonly store: Pick<Store<M>, "conversation" | "cut">;
  readonly clock: Pick<Clock, "after" | "now">;
  readonly log: Log;
}

export interface Condensing {
  /** A turn begins, which goes first; the returned function says that it ended. */
  readonly enterTurn: () => () => void;
  /** A turn was added to that conversation, which may have become too long, by who has that allowance. */
  readonly grew: (conversation: string, allowance?: Allowance) => void;
  /** Breaks off what runs, at once or when the signal is aborted; resolves when it has ended, or a moment later. */
  readonly close: (over?: AbortSignal) => Promise<void>;
}

const DEADLINE_MS = 120_000;
/** What a shutdown waits for it. */
const MOMENT_MS = 250;
/** Conversations that wait; one that finds no place is looked at after its next turn. */
const WAITING = 1024;

/**
 * Condenses conversations beside their turns: one at a time in all, because a board has one model to
 * ask and little memory. A failure is in the log; it is tried again after that conversation's next turn.
 */
export function createCondensing<M>(options: CondensingOptions<M>): Condensing {
  const { condenser, clock, log } = options;
  const rightOfWay = createRightOfWay(clock);
  const waiting = new Map<string, Allowance | undefined>();
  let running: { readonly leash: Leash; readonly ended: Promise<void> } | undefined;
  let isOpen = true;

  const next = (): void => {
    running = undefined;
    const [first] = waiting;
    const condense = condenser();
    if (condense === undefined || first === undefined) return;
    const [conversation, allowance] = first;
    waiting.delete(conversation);
    const leash = createLeash(clock);
    const deadline = startDeadline(clock, () => leash.pull(failureOf("timeout"), GRACE_MS));
    const giveWay = (): Promise<void> => deadline.without(rightOfWay.given(leash.signal));
    const ended = condenseOne(conversation, { leash, giveWay, allowance }, { ...options, condense })
      .catch((thrown: unknown) => {
        const { message, why } = asFailure(leash.failure ?? thrown);
        const level = isOpen ? "warn" : "debug";
        log[level]("a conversation could not be summarized", { error: message, why });
      })
      .finally(() => {
        deadline.end();
        leash.release();
        if (isOpen) next();
      });
    running = { leash, ended };
  };

  return {
    enterTurn: rightOfWay.enter,
    grew(conversation, allowance) {
      if (condenser() === undefined || !isOpen || waiting.size >= WAITING) return;
      waiting.set(conversation, allowance);
      if (running === undefined) next();
    },
    async close(over) {
      isOpen = false;
      waiting.clear();
      if (running === undefined) return;
      const { leash, ended } = running;
      const pull = (): unknown => leash.pull(shuttingDown("cancelled"), MOMENT_MS);
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
  let callOff = clock.after(left, over);
  return {
    async without(waiting) {
      callOff();
      left -= clock.now() - since;
      await waiting;
      since = clock.now();
      if (!isEnded) callOff = clock.after(Math.max(0, left), over);
    },
    end() {
      isEnded = true;
      callOff();
    },
  };
}

interface Bounds {
  readonly leash: Leash;
  readonly giveWay: () => Promise<void>;
  readonly allowance: Allowance | undefined;
}

/** Never waits longer than the leash: what does not obey is left behind. */
async function condenseOne<M>(
  name: string,
  { leash, giveWay, allowance }: Bounds,
  { condense, store, clock, log }: CondensingOptions<M> & { readonly condense: Condense<M> },
): Promise<void> {
  const startedAt = clock.now();
  const conversation = await Promise.race([store.conversation(name), leash.givenUp]);
  if (conversation.turns.length === 0) return;
  const result = await Promise.race([
    condense(conversation, leash.signal, giveWay, allowance),
    leash.givenUp,
  ]);
  if (result === undefined) return;
  const isCut = await store.cut(name, result.through, result.summary);
  faultPoint("condensed");
  const ms = Math.round(clock.now() - startedAt);
  if (isCut) log.info("a conversation was summarized", { ms });
  else log.debug("a summary came too late: the conversation began anew meanwhile", { ms });
}
