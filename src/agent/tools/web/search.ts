/** What is searched for. */
export interface Wanted {
  readonly query: string;
  /** Results wanted, 1 to 10. */
  readonly count: number;
  /** No older than a day, a week, a month or a year. */
  readonly range?: Range;
}

export type Range = "d" | "w" | "m" | "y";

/** One result, as the search gave it: its texts may hold HTML. */
export interface Hit {
  readonly title: string;
  readonly url: string;
  readonly snippet: string;
}

/** Asks a search once. Throws a `SearchFault`, or the signal's reason. */
export type Search = (wanted: Wanted, ask: Ask) => Promise<readonly Hit[]>;

/** Sends one request and gives the text of its answer; throws a `SearchFault` for any status but 200. */
export type Ask = (url: string, init?: AskInit) => Promise<string>;

export interface AskInit {
  readonly method?: "GET" | "POST";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Why a search gave no results; the message is for a model and holds no key and no address. */
export class SearchFault extends Error {
  /** Of HTTP; 0 where there was no answer. */
  readonly status: number;

  constructor(message: string, status = 0) {
    super(message);
    this.status = status;
  }
}

/** The words for a range that most searches share. */
export const RANGE_WORDS: Readonly<Record<Range, string>> = {
  d: "day",
  w: "week",
  m: "month",
  y: "year",
};

/** The JSON of an answer. */
export function parsedAnswer(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new SearchFault("its answer is not JSON");
  }
}

/** Answers to a key that another key may not get. */
const KEY_STATUSES: ReadonlySet<number> = new Set([401, 402, 403, 429]);

/** Asks with one key after the other, until one is taken; the next call begins with that one. */
export function createKeyed(
  keys: readonly string[],
  ask: (key: string, wanted: Wanted, send: Ask) => Promise<readonly Hit[]>,
): Search {
  let first = 0;
  return async (wanted, send) => {
    let last: unknown = new SearchFault("it has no key");
    for (let step = 0; step < keys.length; step += 1) {
      const index = (first + step) % keys.length;
      try {
        const hits = await ask(keys[index] ?? "", wanted, send);
        first = index;
        return hits;
      } catch (error) {
        if (!(error instanceof SearchFault) || !KEY_STATUSES.has(error.status)) throw error;
        last = error;
      }
    }
    throw last;
  };
}
