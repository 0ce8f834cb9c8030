import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Failure } from "../../base/failure.ts";
import type { OnCommit, Survives } from "../group-commit.ts";
import { type Connections, type Transaction, TransactionError } from "./connection/connections.ts";
import type { Row, Value } from "./connection/session.ts";

export interface CommitOptions {
  /** "power" if it is absent. */
  readonly survives?: Survives;
  /** What the caller was given. Asked for again with the same ones after `unsure`, it is not written twice. */
  readonly args: readonly unknown[];
  /** It may be done before or after any other call of its transaction. */
  readonly mixes?: boolean;
  /** It may wait for other calls, 50 ms at the most. */
  readonly isLazy?: boolean;
}

export interface PostgresCommitsOptions {
  readonly onCommit?: OnCommit;
  /** Milliseconds for which the outcome of a transaction is sought before its calls reject. */
  readonly seekMs?: number;
}

/** Calls of one kind that a transaction does together. */
export interface JointWork<In, Out> {
  /** Returns a result for each input, in their order; a `Failure` among them rejects its call alone. */
  readonly apply: (tx: Transaction, inputs: readonly In[]) => Promise<readonly (Out | Failure)[]>;
}

interface Waiting extends CommitOptions {
  readonly survives: Survives;
  readonly work: (tx: Transaction) => Promise<unknown>;
  /** It is done instead of the work, together with the others of its kind. */
  readonly joint?: JointWork<unknown, unknown>;
  readonly input?: unknown;
  resolve(result: unknown): void;
  reject(failure: unknown): void;
}

/** A transaction whose outcome is not known, with what its calls return if it is written. */
interface Doubt {
  readonly batch: string;
  readonly calls: readonly { readonly args: readonly unknown[]; readonly result: unknown }[];
}

/** Calls in one transaction. */
const AT_ONCE = 512;
/** Milliseconds for which lazy calls wait for others. */
const LAZY_MS = 50;
const SEEK_MS = 3000;
const SEEK_EVERY_MS = 100;
/** Milliseconds for which a call that was written all the same is remembered for its caller. */
const REMEMBERED_MS = 60_000;

/**
 * Work on a database that shares its commits: calls that are made in one go, or while an earlier transaction is
 * under way, are one transaction. All takes effect in the order of the calls, whose first statements are sent
 * together. A call whose values the database refuses rejects alone.
 */
export class PostgresCommits {
  readonly #connections: Connections;
  readonly #options: PostgresCommitsOptions;
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  #later: ReturnType<typeof setTimeout> | undefined;
  /** Lazy calls have waited long enough. */
  #isDue = false;
  #doubt: Doubt | undefined;
  /** Calls that were written although they rejected as `unsure`, until they are asked for again. */
  #written: (Doubt["calls"][number] & { readonly until: number })[] = [];
  #isClosed = false;

  constructor(connections: Connections, options: PostgresCommitsOptions = {}) {
    this.#connections = connections;
    this.#options = options;
  }

  /**
   * Resolves with the result of the work when it is written. The work may run again after a transaction that was
   * rolled back, and must not keep anything from it. Rejects with a `Failure`: `busy`, `unsure`, or `internal` if
   * the database refuses what it is given.
   */
  run<T>(work: (tx: Transaction) => Promise<T>, options: CommitOptions): Promise<T> {
    return this.#wait({ survives: "power", ...options, work });
  }

  /** The same for work that is done together with that of other such calls. */
  runJointly<In, Out>(joint: JointWork<In, Out>, input: In, options: CommitOptions): Promise<Out> {
    // Only calls of this kind give it their inputs.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    const untyped = joint as JointWork<unknown, unknown>;
    return this.#wait({ survives: "power", ...options, work: noWork, joint: untyped, input });
  }

  /** What calls would have returned that rejected as `unsure`, and were not made again. */
  unreported(args: readonly unknown[]): readonly unknown[] {
    const calls = [...this.#written, ...(this.#doubt?.calls ?? [])];
    return calls.filter((call) => isSame(call.args, args)).map(({ result }) => result);
  }

  /**
   * Runs one statement that only reads, after the calls that were made before, but for lazy ones; it sees their
   * effects.
   */
  async read(text: string, values: readonly Value[] = []): Promise<readonly Row[]> {
    if (this.#running !== undefined || this.#waiting.some(isUrgent)) await this.#earlier();
    return this.#connections.read(text, values);
  }

  /** The same, and it sees the effects of lazy calls, too. */
  async readAll(text: string, values: readonly Value[] = []): Promise<readonly Row[]> {
    if (this.#running !== undefined || this.#waiting.length > 0) await this.#earlier();
    return this.#connections.read(text, values);
  }

  /** Does what was asked for so far; later calls reject. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#isDue = true;
    this.#start();
    await this.#running;
    this.#connections.close();
  }

  /** Resolves when the calls that were made before are done, written or not. */
  async #earlier(): Promise<void> {
    await this.run(noWork, { survives: "process", args: [], mixes: true }).catch(() => {});
  }

  #wait<T>(call: Omit<Waiting, "resolve" | "reject">): Promise<T> {
    if (this.#isClosed) return Promise.reject(new Failure("busy", "the store is closed"));
    return new Promise<T>((resolve, reject) => {
      // Only this call gets what its own work returned.
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion
      const take = (result: unknown): void => resolve(result as T);
      this.#waiting.push({ ...call, resolve: take, reject });
      if (call.isLazy === true) this.#later ??= setTimeout(this.#startLazy, LAZY_MS);
      else this.#start();
    });
  }

  readonly #startLazy = (): void => {
    this.#isDue = true;
    this.#start();
  };

  #start(): void {
    this.#running ??= this.#runAll();
  }

  async #runAll(): Promise<void> {
    // What is asked for in this turn of the event loop belongs to it.
    await new Promise((resolve) => void setImmediate(resolve));
    while (this.#isDue ? this.#waiting.length > 0 : this.#waiting.some(isUrgent)) {
      const batch = this.#next();
      this.#waiting = this.#waiting.slice(batch.length);
      const failure = await this.#commit(batch);
      // None of those behind takes effect before them.
      if (failure !== undefined) for (const one of this.#waiting.splice(0)) one.reject(failure);
    }
    this.#running = undefined;
    if (this.#waiting.length > 0 && !this.#isDue) return;
    clearTimeout(this.#later);
    this.#later = undefined;
    this.#isDue = false;
  }

  /** The calls of the next transaction: joint work of one kind at the most, and then only what mixes with it. */
  #next(): readonly Waiting[] {
    const waiting = this.#waiting.slice(0, AT_ONCE).filter(({ mixes }) => mixes !== true);
    const [first] = waiting;
    const other = waiting.find(({ joint }) => joint !== first?.joint);
    return this.#waiting.slice(0, other === undefined ? AT_ONCE : this.#waiting.indexOf(other));
  }

  /** Returns why the calls behind cannot be written either; undefined if they may. */
  async #commit(batch: readonly Waiting[]): Promise<Failure | undefined> {
    try {
      const resolved = await this.#resolveDoubt();
      if (resolved?.isWritten === true) this.#remember(resolved.doubt);
    } catch (error) {
      for (const one of batch) one.reject(failureIn(error));
      return blocking(error);
    }
    const rest = batch.filter((one) => !this.#wasWritten(one));
    const failed = await this.#transact(rest);
    if (failed?.outcome !== "refused" || rest.length === 1) {
      if (failed !== undefined) for (const one of rest) one.reject(failed.failure);
      return blocking(failed);
    }
    // One of them is at fault, and only that one rejects.
    for (const one of rest) {
      const alone = await this.#transact([one]);
      if (alone !== undefined) one.reject(alone.failure);
    }
    return undefined;
  }

  /** Runs the work as one transaction and resolves its calls. Returns why nothing of it is known to be written. */
  async #transact(batch: readonly Waiting[]): Promise<TransactionError | undefined> {
    if (batch.every(isNothing)) {
      for (const one of batch) one.resolve(undefined);
      return undefined;
    }
    const survives = batch.some((one) => one.survives === "power") ? "power" : "process";
    const options = { batch: randomUUID(), isDurable: survives === "power" };
    const begun = performance.now();
    let results: readonly unknown[] = [];
    try {
      await this.#connections.write(async (tx) => {
        results = await resultsOf(batch, tx);
      }, options);
    } catch (error) {
      if (!(error instanceof TransactionError)) throw error;
      if (error.outcome !== "unsure") return error;
      const calls = batch.map(({ args }, index) => ({ args, result: results[index] }));
      this.#doubt = { batch: options.batch, calls };
      const isWritten = await this.#seekOutcome();
      if (isWritten === undefined) return error;
      if (!isWritten) return new TransactionError("busy", notWritten(error.failure));
    }
    for (const [index, one] of batch.entries()) settle(one, results[index]);
    this.#options.onCommit?.(batch.length, survives, performance.now() - begun);
    return undefined;
  }

  /** Whether the transaction in doubt is written; undefined if that is not found out soon. */
  async #seekOutcome(): Promise<boolean | undefined> {
    const end = performance.now() + (this.#options.seekMs ?? SEEK_MS);
    while (performance.now() < end) {
      try {
        return (await this.#resolveDoubt())?.isWritten;
      } catch {
        if (this.#isClosed) return undefined;
        await sleep(SEEK_EVERY_MS);
      }
    }
    return undefined;
  }

  /** Finds out what became of the transaction in doubt, before anything else is written; throws while it cannot. */
  async #resolveDoubt(): Promise<
    { readonly doubt: Doubt; readonly isWritten: boolean } | undefined
  > {
    const doubt = this.#doubt;
    if (doubt === undefined) return undefined;
    const isWritten = await this.#connections.wasWritten(doubt.batch);
    this.#doubt = undefined;
    return { doubt, isWritten };
  }

  #remember({ calls }: Doubt): void {
    const now = performance.now();
    this.#written = this.#written.filter(({ until }) => until > now);
    const until = now + REMEMBERED_MS;
    for (const { args, result } of calls) this.#written.push({ args, result, until });
  }

  /** Resolves a call that is made again, although it was written the first time. */
  #wasWritten(one: Waiting): boolean {
    if (this.#written.length === 0 || one.args.length === 0) return false;
    const now = performance.now();
    const index = this.#written.findIndex(
      (call) => call.until > now && isSame(call.args, one.args),
    );
    const [call] = index === -1 ? [] : this.#written.splice(index, 1);
    if (call === undefined) return false;
    settle(one, call.result);
    return true;
  }
}

function noWork(): Promise<void> {
  return Promise.resolve();
}

function isNothing({ work, joint }: Waiting): boolean {
  return work === noWork && joint === undefined;
}

function isUrgent({ isLazy }: Waiting): boolean {
  return isLazy !== true;
}

function settle(one: Waiting, result: unknown): void {
  if (result instanceof Failure) one.reject(result);
  else one.resolve(result);
}

/** Does the joint work and that of each other call. */
async function resultsOf(batch: readonly Waiting[], tx: Transaction): Promise<readonly unknown[]> {
  const together = batch.filter(({ joint }) => joint !== undefined);
  const inputs = together.map(({ input }) => input);
  const done = together[0]?.joint?.apply(tx, inputs);
  return Promise.all(
    batch.map(async (one) => {
      return one.joint === undefined ? one.work(tx) : (await done)?.[together.indexOf(one)];
    }),
  );
}

function isSame(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((value, index) => value === b[index]);
}

function failureIn(error: unknown): unknown {
  return error instanceof TransactionError ? notWritten(error.failure) : error;
}

/** Why the calls behind one that failed so cannot be written either; undefined if they may. */
function blocking(error: unknown): Failure | undefined {
  const isAway = error instanceof TransactionError && error.outcome !== "refused";
  return isAway ? notWritten(error.failure) : undefined;
}

/** What is said of calls of which it is certain that nothing is written. */
function notWritten({ why, remedy, retryAfter }: Failure): Failure {
  const message = "requests cannot be stored at the moment, please ask again later";
  return new Failure("busy", message, { why, remedy, retryAfter });
}
