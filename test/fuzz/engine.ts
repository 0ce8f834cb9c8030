import process from "node:process";
import { mutated } from "./mutate.ts";
import type { Material } from "./mutate.ts";
import { createRandom } from "./random.ts";
import { kindOf } from "./target.ts";
import type { Target, Trial } from "./target.ts";
import { slowness } from "./work.ts";

export interface FuzzOptions {
  readonly seed: number;
  /** Inputs to begin with; they are run first, as they are. */
  readonly corpus: readonly Uint8Array[];
  /** Ends when so many inputs were made, or the time is over, whichever comes first. */
  readonly runs?: number;
  readonly milliseconds?: number;
}

export interface Broken {
  readonly input: Uint8Array;
  /** What did not hold. */
  readonly message: string;
  readonly stack: string;
}

export interface FuzzReport {
  readonly runs: number;
  /** Inputs, beyond the corpus, that had an outcome of their own. */
  readonly found: readonly Uint8Array[];
  readonly outcomes: ReadonlySet<string>;
  /** The first input that broke something; the run ends with it. */
  readonly broken?: Broken;
}

const MATERIAL: Material = { words: [], most: 65_536, json: false, lines: false };

/**
 * Feeds a target with its corpus and then with what mutations make of it. What is new is known by its
 * outcome, and is changed further. (Coverage would be a finer signal: Bun's inspector has none of
 * modules.) The same seed and corpus make the same inputs.
 */
export async function fuzz(target: Target, options: FuzzOptions): Promise<FuzzReport> {
  const trial = await target.open();
  try {
    return await explore(target, trial, options);
  } finally {
    await trial.close?.();
  }
}

async function explore(target: Target, trial: Trial, options: FuzzOptions): Promise<FuzzReport> {
  const { corpus, seed, runs = Number.POSITIVE_INFINITY, milliseconds } = options;
  const end = performance.now() + (milliseconds ?? Number.POSITIVE_INFINITY);
  const next = inputsFrom(seed, { ...MATERIAL, ...target.material });
  const outcomes = new Set<string>();
  const found: Uint8Array[] = [];
  let count = 0;
  for (const input of corpus) {
    const result = await attempt(target, trial, input);
    if (typeof result !== "string") return { runs: count, found, outcomes, broken: result };
    outcomes.add(result);
  }
  const pool = corpus.length === 0 ? [new Uint8Array()] : [...corpus];
  while (count < runs && performance.now() < end) {
    count += 1;
    const input = next(pool);
    const result = await attempt(target, trial, input);
    if (typeof result !== "string") return { runs: count, found, outcomes, broken: result };
    if (outcomes.has(result)) continue;
    const slow = target.linear ? await slowness(trial, input) : undefined;
    if (slow !== undefined) return { runs: count, found, outcomes, broken: slow };
    outcomes.add(result);
    pool.push(input);
    found.push(input);
  }
  return { runs: count, found, outcomes };
}

/** One input after the other, each made of what is in the pool by then. */
function inputsFrom(seed: number, material: Material): (pool: readonly Uint8Array[]) => Uint8Array {
  const random = createRandom(seed);
  return (pool) => {
    // What was found last has been changed least.
    const from = random.chance(0.3) ? pool.slice(-20) : pool;
    // Of two the shorter one, mostly: what is long takes long and says no more.
    const [first, second] = [random.pick(from), random.pick(from)];
    const parent = first.length <= second.length || random.chance(0.2) ? first : second;
    return mutated(parent, random.pick(pool), random, material);
  };
}

/** The processor's time that one input may take, in milliseconds. */
const MOST_WORK = 2_000;
const PATIENCE = 10_000;

/** Runs one input; what it broke, where it broke something. */
export async function attempt(
  target: Target,
  trial: Trial,
  input: Uint8Array,
): Promise<string | Broken> {
  const stray = Promise.withResolvers<never>();
  stray.promise.catch(() => {});
  const strays = ["unhandledRejection", "uncaughtException"] as const;
  for (const event of strays) process.on(event, stray.reject);
  const before = process.cpuUsage();
  try {
    const patience = target.patience ?? PATIENCE;
    const outcome = await inTime(trial.run(input), stray.promise, patience);
    const { user, system } = process.cpuUsage(before);
    const work = (user + system) / 1000;
    if (work > MOST_WORK && (await isSlowAgain(trial, input))) {
      throw new Error(`it took ${work.toFixed(0)} ms of the processor's time`);
    }
    return outcome;
  } catch (thrown) {
    const { message, stack = "" } = thrown instanceof Error ? thrown : new Error(String(thrown));
    return { input, message, stack };
  } finally {
    for (const event of strays) process.off(event, stray.reject);
  }
}

async function isSlowAgain(trial: Trial, input: Uint8Array): Promise<boolean> {
  const before = process.cpuUsage();
  await trial.run(input);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000 > MOST_WORK;
}

/** What is thrown where nobody catches it (`stray`) counts as thrown by the input. */
async function inTime(
  work: string | Promise<string>,
  stray: Promise<never>,
  milliseconds: number,
): Promise<string> {
  if (typeof work === "string") return work;
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => reject(new Error(`nothing came of it within ${milliseconds / 1000} s`)),
    milliseconds,
  );
  try {
    return await Promise.race([work, promise, stray]);
  } finally {
    clearTimeout(timer);
  }
}

/** Tries of the minimiser. */
const MOST_TRIES = 600;

/** A smaller input that breaks the same thing: pieces are taken out as long as it stays broken. */
export async function minimised(target: Target, broken: Broken): Promise<Broken> {
  const trial = await target.open();
  const wanted = kindOf(broken.message);
  let best = broken;
  let size = Math.ceil(best.input.length / 2);
  let at = 0;
  try {
    for (let tries = 0; tries < MOST_TRIES && size > 0; tries += 1) {
      const kept = best.input;
      const smaller = Buffer.concat([kept.subarray(0, at), kept.subarray(at + size)]);
      const result = await attempt(target, trial, smaller);
      const isBroken = typeof result !== "string" && kindOf(result.message) === wanted;
      if (isBroken) best = result;
      else at += size;
      if (at < best.input.length) continue;
      at = 0;
      size = Math.floor(size / 2);
    }
    return best;
  } finally {
    await trial.close?.();
  }
}
