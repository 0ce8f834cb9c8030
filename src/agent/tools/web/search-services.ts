import { codeOf } from "../../../base/failure.ts";
import { at, listAt, textAt } from "../../../base/unknown.ts";
import { VERSION } from "../../../base/version.ts";
import type { Fetch } from "../../model/contract.ts";
import type { Token } from "./html-text.ts";

/** A search. */
export interface Wanted {
  readonly query: string;
  /** The number of results, 1 to 10. */
  readonly count: number;
  /** Only results of the last day, week, month or year. */
  readonly range?: Range;
}

const BRAVE = "https://api.search.brave.com/res/v1/web/search";

/** Searches with the Brave Search API. */
export function createBraveSearch(keys: readonly string[], base: string = BRAVE): Search {
  return createKeyed(keys, async (key, { query, count, range }, ask) => {
    const url = new URL(base);
    url.search = new URLSearchParams({
      q: query,
      count: String(count),
      ...(range !== undefined && { freshness: `p${range}` }),
    }).toString();
    const headers = { Accept: "application/json", "X-Subscription-Token": key };
    const answer = parsedAnswer(await ask(url.href, { headers }));
    return listAt(at(answer, "web"), "results").map((result) => ({
      title: textAt(result, "title"),
      url: textAt(result, "url"),
      snippet: textAt(result, "description"),
    }));
  });
}

/** Searches with a SearXNG server, whose settings must allow the format json. */
export function createSearxngSearch(base: string): Search {
  return async ({ query, count, range }, ask) => {
    const url = new URL(`${base.replace(/\/+$/, "")}/search`);
    url.search = new URLSearchParams({
      q: query,
      format: "json",
      ...(range !== undefined && { time_range: RANGE_WORDS[range] }),
    }).toString();
    const text = await ask(url.href, { headers: { Accept: "application/json" } }).catch(
      (error: unknown) => {
        if (!(error instanceof SearchError) || error.status !== 403) throw error;
        throw new SearchError("it answers 403: its settings must allow the format json", 403);
      },
    );
    return listAt(parsedAnswer(text), "results")
      .slice(0, count)
      .map((result) => ({
        title: textAt(result, "title"),
        url: textAt(result, "url"),
        snippet: textAt(result, "content"),
      }));
  };
}

const TAVILY = "https://api.tavily.com/search";

/** Searches with the Tavily API; `base` is the URL of its search, or of the host. */
export function createTavilySearch(keys: readonly string[], base: string = TAVILY): Search {
  const url = endpoint(base);
  return createKeyed(keys, async (key, { query, count, range }, ask) => {
    const question = {
      query,
      max_results: count,
      ...(range !== undefined && { time_range: RANGE_WORDS[range] }),
    };
    const text = await ask(url, {
      method: "POST",
      headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
      body: JSON.stringify(question),
    });
    return listAt(parsedAnswer(text), "results").map((result) => ({
      title: textAt(result, "title"),
      url: textAt(result, "url"),
      snippet: textAt(result, "content"),
    }));
  });
}

function endpoint(base: string): string {
  const plain = base.replace(/\/+$/, "");
  return plain.endsWith("/search") ? plain : `${plain}/search`;
}

const DUCKDUCKGO = "https://html.duckduckgo.com/html/";

/** Searches with DuckDuckGo's page for browsers without scripts. It needs no key, and may refuse at any time. */
export function createDuckduckgoSearch(base: string = DUCKDUCKGO): Search {
  return async ({ query, count, range }, ask) => {
    const url = new URL(base);
    url.search = new URLSearchParams({
      q: query,
      ...(range !== undefined && { df: range }),
    }).toString();
    const headers = {
      Accept: "text/html",
      "User-Agent": `Mozilla/5.0 (compatible; picoclaw/${VERSION})`,
    };
    const html = await ask(url.href, { headers }).catch((error: unknown) => {
      // 202 comes with a captcha.
      if (!(error instanceof SearchError) || error.status !== 202) throw error;
      throw new SearchError(
        "it takes this program for a robot and asks for a captcha; try later",
        202,
      );
    });
    const hits = await hitsIn(html, count);
    if (hits.length === 0 && /anomaly|challenge-form/i.test(html)) {
      throw new SearchError("it takes this program for a robot and asks for a captcha; try later");
    }
    return hits;
  };
}

interface Reading {
  readonly hits: { title: string; url: string; snippet: string }[];
  /** What the next text is, and the element that ends it. */
  part: { readonly key: "title" | "snippet"; readonly name: string } | undefined;
}

/** Each result has a link of class `result__a`, then an element of class `result__snippet`. */
async function hitsIn(html: string, count: number): Promise<readonly Hit[]> {
  const { tokensOf } = await import("./html-text.ts");
  const reading: Reading = { hits: [], part: undefined };
  for (const token of tokensOf(html)) {
    if (token.kind === "start") take(token, reading);
    else if (token.kind === "end" && token.name === reading.part?.name) {
      reading.part = undefined;
      if (reading.hits.length > count) break;
    } else if (token.kind === "text" && reading.part !== undefined) {
      const hit = reading.hits.at(-1);
      if (hit !== undefined) hit[reading.part.key] += token.text;
    }
  }
  return reading.hits.filter(({ url }) => url !== "").slice(0, count);
}

function take(token: Extract<Token, { kind: "start" }>, reading: Reading): void {
  const classes = token.attributes.get("class")?.split(/\s+/) ?? [];
  if (classes.includes("result__a")) {
    const url = targetOf(token.attributes.get("href") ?? "");
    // Advertisements link to a script; they are left out.
    if (url === "") return void (reading.part = undefined);
    reading.hits.push({ title: "", url, snippet: "" });
    reading.part = { key: "title", name: token.name };
  } else if (classes.includes("result__snippet") && reading.hits.length > 0) {
    const hit = reading.hits.at(-1);
    if (hit?.snippet === "") reading.part = { key: "snippet", name: token.name };
  }
}

/** The URL of a result: `//duckduckgo.com/l/?uddg=https%3A%2F%2F…` contains it as a parameter. */
function targetOf(link: string): string {
  const url = URL.parse(link, DUCKDUCKGO);
  if (url === null) return "";
  const isOwn = /(?:^|\.)duckduckgo\.com$/.test(url.hostname);
  return isOwn ? (url.searchParams.get("uddg") ?? "") : url.href;
}

type Range = "d" | "w" | "m" | "y";

/** One result as the service returned it. Its texts may contain HTML. */
export interface Hit {
  readonly title: string;
  readonly url: string;
  readonly snippet: string;
}

/** Searches once. Throws a `SearchError`, or the signal's reason. */
export type Search = (wanted: Wanted, ask: Ask) => Promise<readonly Hit[]>;

/** Sends one request and returns the text of the response. Throws a `SearchError` for any status but 200. */
type Ask = (url: string, init?: AskInit) => Promise<string>;

interface AskInit {
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
const RANGE_WORDS: Readonly<Record<Range, string>> = {
  d: "day",
  w: "week",
  m: "month",
  y: "year",
};

/** The JSON of a response. Throws a `SearchError` if it is not JSON. */
function parsedAnswer(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new SearchError("its answer is not JSON");
  }
}

/** HTTP statuses that concern the key: another key may work. */
const KEY_STATUSES: ReadonlySet<number> = new Set([401, 402, 403, 429]);

/** Tries one key after the other until one works; the next call begins with that key. */
function createKeyed(
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
