import process from "node:process";
import type { Trial } from "./target.ts";

/** Bytes of the smaller of two inputs that are compared, and how many times longer the larger one is. */
const SMALL = 4096;
const TIMES = 8;
/** Milliseconds below which a difference is noise. */
const NOISE = 60;
/** What is linear takes 8 times as long, what is quadratic 64 times. */
const MOST_TIMES = 24;

interface Slow {
  readonly input: Uint8Array;
  readonly message: string;
  readonly stack: string;
}

/**
 * Whether an input, repeated, takes much more time than its length explains: a quadratic reader is stopped
 * with a payload that is allowed. The least of several measurements of the processor's time counts.
 */
export async function slowness(trial: Trial, input: Uint8Array): Promise<Slow | undefined> {
  if (input.length === 0 || input.length > SMALL) return undefined;
  const small = repeatedTo(input, SMALL);
  const large = repeatedTo(input, SMALL * TIMES);
  for (let again = 0; again < 3; again += 1) {
    const long = await workOf(trial, large);
    if (long < NOISE || long < MOST_TIMES * Math.max(1, await workOf(trial, small))) {
      return undefined;
    }
  }
  const message = `${TIMES} times the input is more than ${MOST_TIMES} times the work`;
  return { input: large, message, stack: "" };
}

function repeatedTo(input: Uint8Array, length: number): Uint8Array {
  const result = new Uint8Array(length);
  for (let at = 0; at < length; at += input.length) {
    result.set(input.subarray(0, length - at), at);
  }
  return result;
}

/** Milliseconds. */
async function workOf(trial: Trial, input: Uint8Array): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let times = 0; times < 2; times += 1) {
    const before = process.cpuUsage();
    await trial.run(input);
    const { user, system } = process.cpuUsage(before);
    least = Math.min(least, (user + system) / 1000);
    if (least < NOISE) return least;
  }
  return least;
}
