import type { StatusMinute } from "./contract.ts";

/** Minutes that are remembered. */
const MINUTES = 240;
const MINUTE_MS = 60_000;

/** What is counted of one minute. Times are sums and maxima in milliseconds. */
interface Minute {
  /** Minutes since the epoch. */
  minute: number;
  requests: number;
  failed: number;
  first: Times;
  answer: Times;
  tokens: number;
}

interface Times {
  count: number;
  sum: number;
  most: number;
}

/** What happened in each of the last hours' minutes. A minute without a request costs nothing. */
export class Minutes {
  /** By minute, modulo the length. */
  readonly #ring: (Minute | undefined)[] = [];

  /** Counts one answered request in the minute of `epoch`. */
  add(
    epoch: number,
    request: {
      readonly isFailed: boolean;
      readonly firstMs: number | undefined;
      readonly answerMs: number | undefined;
      readonly tokens: number;
    },
  ): void {
    const number = Math.floor(epoch / MINUTE_MS);
    const index = number % MINUTES;
    let minute = this.#ring[index];
    if (minute?.minute !== number) this.#ring[index] = minute = newMinute(number);
    minute.requests += 1;
    minute.tokens += request.tokens;
    if (request.isFailed) minute.failed += 1;
    if (request.firstMs !== undefined) addTo(minute.first, request.firstMs);
    if (request.answerMs !== undefined) addTo(minute.answer, request.answerMs);
  }

  /** The minutes with requests until `epoch`, the oldest first. */
  until(epoch: number): readonly StatusMinute[] {
    const last = Math.floor(epoch / MINUTE_MS);
    return this.#ring
      .filter((one) => one !== undefined)
      .filter(({ minute }) => minute > last - MINUTES && minute <= last)
      .toSorted((left, right) => left.minute - right.minute)
      .map(asStatus);
  }
}

function asStatus({ minute, requests, failed, first, answer, tokens }: Minute): StatusMinute {
  const at = new Date(minute * MINUTE_MS).toISOString();
  return {
    at,
    requests,
    failed,
    tokens,
    ...(first.count > 0 && { first_ms: mean(first), first_ms_most: Math.round(first.most) }),
    ...(answer.count > 0 && { answer_ms: mean(answer), answer_ms_most: Math.round(answer.most) }),
  };
}

function newMinute(minute: number): Minute {
  return { minute, requests: 0, failed: 0, first: newTimes(), answer: newTimes(), tokens: 0 };
}

function newTimes(): Times {
  return { count: 0, sum: 0, most: 0 };
}

function addTo(times: Times, ms: number): void {
  times.count += 1;
  times.sum += ms;
  times.most = Math.max(times.most, ms);
}

function mean({ sum, count }: Times): number {
  return Math.round(sum / count);
}
