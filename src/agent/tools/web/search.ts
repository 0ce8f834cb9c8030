import { codeOf } from "../../../base/failure.ts";
import type { Fetch } from "../../model/contract.ts";

/** A search. */
export interface Wanted {
  readonly query: string;
  /** The number of results, 1 to 10. */
  readonly count: number;
  /** Only results of the last day, week, month or year. */
  readonly range?: Range;
}

export type Range = "d" | "w" | "m" | "y";

/** One result as the service returned it. Its texts may contain HTML. */
export interface Hit {
  readonly title: string;
  readonly url: string;
  readonly snippet: string;
}

/** Searches once. Throws a `SearchError`, or the signal's reason. */
export type Search = (wanted: Wanted, ask: Ask) => Promise<readonly Hit[]>;

/** Sends one request and returns the text of the response. Throws a `SearchError` for any status but 200. */
export type Ask = (url: string, init?: AskInit) => Promise<string>;

export interface AskInit {
  readonly method?: "GET" | "POST";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** A search failed. The message is for a model and contains no key and no URL. */
export class SearchError extends Error {
  /** The HTTP status; 0 without a response. */
  readonly status: number;

  constructor(message: string, status = 0) {
    super(message);
    this.status = status;
  }
}

/** The names of a range that most services use. */
export const RANGE_WORDS: Readonly<Record<Range, string>> = {
  d: "day",
  w: "week",
  m: "month",
  y: "year",
};

/** The JSON of a response. Throws a `SearchError` if it is not JSON. */
export function parsedAnswer(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new SearchError("its answer is not JSON");
  }
}

/** HTTP statuses that concern the key: another key may work. */
const KEY_STATUSES: ReadonlySet<number> = new Set([401, 402, 403, 429]);

/** Tries one key after the other until one works; the next call begins with that key. */
export function createKeyed(
  keys: readonly string[],
  ask: (key: string, wanted: Wanted, send: Ask) => Promise<readonly Hit[]>,
): Search {
  let first = 0;
  return async (wanted, send) => {
    let last: unknown = new SearchError("it has no key");
    for (let step = 0; step < keys.length; step += 1) {
      const index = (first + step) % keys.length;
      try {
        const hits = await ask(keys[index] ?? "", wanted, send);
        first = index;
        return hits;
      } catch (error) {
        if (!(error instanceof SearchError) || !KEY_STATUSES.has(error.status)) throw error;
        last = error;
      }
    }
    throw last;
  };
}

/** Bytes of a decompressed response. */
const MAX_BYTES = 2 * 2 ** 20;

interface AskOptions {
  readonly fetch: Fetch;
  readonly signal: AbortSignal;
}

/** Sends requests to a service. It follows no redirect: a key must not go to another host. */
export function createAsk({ fetch, signal }: AskOptions): Ask {
  return async (url, { method = "GET", headers = {}, body } = {}) => {
    const response = await fetch(url, {
      method,
      headers,
      signal,
      redirect: "manual",
      ...(body !== undefined && { body }),
    }).catch((error: unknown) => {
      signal.throwIfAborted();
      throw new SearchError(wordsFor(error));
    });
    try {
      if (response.status !== 200) {
        throw new SearchError(`it answers ${response.status}`, response.status);
      }
      return await textOf(response, signal);
    } finally {
      // The rest of the body is not needed.
      response.body?.cancel().catch(() => {});
    }
  };
}

async function textOf(response: Response, signal: AbortSignal): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let length = 0;
  const reader = response.body?.getReader();
  try {
    for (;;) {
      const step = await reader?.read();
      if (step?.value === undefined) return text + decoder.decode();
      length += step.value.length;
      if (length > MAX_BYTES) throw new SearchError("its answer is too large");
      text += decoder.decode(step.value, { stream: true });
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof SearchError) throw error;
    throw new SearchError("its answer broke off");
  } finally {
    reader?.cancel().catch(() => {});
    reader?.releaseLock();
  }
}

/** The error code only: the messages of runtimes contain addresses. */
function wordsFor(error: unknown): string {
  const code = codeOf(error);
  const named = /^\w{3,40}$/.test(code) ? ` (${code})` : "";
  return `it cannot be reached${named}`;
}
