import { codeOf } from "../../../base/failure.ts";
import { at, listAt, textAt } from "../../../base/unknown.ts";
import { VERSION } from "../../../base/version.ts";
import type { SearchName } from "../../../config/contract.ts";
import type { Fetch } from "../../model/contract.ts";
import type { Token } from "./html-text.ts";

/** A search. */
export interface Wanted {
  readonly query: string;
  /** The number of results, 1 to 10. */
  readonly count: number;
  /** Only results of the last day, week, month or year. */
  readonly range?: Range | undefined;
}

type Range = "d" | "w" | "m" | "y";

/** One result as the service returned it. Its texts may contain HTML. */
export interface Hit {
  readonly title: string;
  readonly url: string;
  readonly snippet: string;
}

/** How a request is sent. */
export interface Sending {
  readonly fetch: Fetch;
  readonly signal: AbortSignal;
}

/** Searches once. Throws a `SearchError`, or the signal's reason. */
export type Search = (wanted: Wanted, sending: Sending) => Promise<readonly Hit[]>;

/** A search failed. The message is for a model and contains no key and no URL. */
export class SearchError extends Error {
  /** The HTTP status; 0 without a response. */
  readonly status: number;

  constructor(message: string, status = 0) {
    super(message);
    this.status = status;
  }
}

interface ServiceRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** The request is a POST if it has a body. */
  readonly body?: string;
}

/** What differs between the services. */
interface Service {
  /** The URL of its search, if the settings name no other. */
  readonly base: string;
  readonly request: (wanted: Wanted, base: string, key: string) => ServiceRequest;
  /** The results in a response. Throws a `SearchError` if it is none. */
  readonly hitsIn: (text: string, count: number) => readonly Hit[] | Promise<readonly Hit[]>;
  /** The statuses that mean something of their own, in words for a model. */
  readonly statuses?: Readonly<Record<number, string>>;
}

const JSON_TYPE = "application/json";
const CAPTCHA = "it takes this program for a robot and asks for a captcha; try later";
const RANGE_WORDS: Readonly<Record<Range, string>> = { d: "day", w: "week", m: "month", y: "year" };

const SERVICES: Readonly<Record<SearchName, Service>> = {
  brave: {
    base: "https://api.search.brave.com/res/v1/web/search",
    request: ({ query, count, range }, base, key) => ({
      url: withQuery(base, { q: query, count: String(count), freshness: range && `p${range}` }),
      headers: { Accept: JSON_TYPE, "X-Subscription-Token": key },
    }),
    hitsIn: (text) => hitsOf(at(parsedAnswer(text), "web"), "description"),
  },
  /** A SearXNG server has no URL but its own, and its settings must allow the format json. */
  searxng: {
    base: "",
    request: ({ query, range }, base) => ({
      url: withQuery(`${base.replace(/\/+$/, "")}/search`, {
        q: query,
        format: "json",
        time_range: range && RANGE_WORDS[range],
      }),
      headers: { Accept: JSON_TYPE },
    }),
    hitsIn: (text, count) => hitsOf(parsedAnswer(text), "content").slice(0, count),
    statuses: { 403: "it answers 403: its settings must allow the format json" },
  },
  /** Its base is the URL of the search, or of the host. */
  tavily: {
    base: "https://api.tavily.com/search",
    request: ({ query, count, range }, base, key) => ({
      url: base.replace(/\/+$/, "").replace(/(?<!\/search)$/, "/search"),
      headers: { Authorization: `Bearer ${key}`, "Content-Type": JSON_TYPE },
      body: JSON.stringify({
        query,
        max_results: count,
        time_range: range && RANGE_WORDS[range],
      }),
    }),
    hitsIn: (text) => hitsOf(parsedAnswer(text), "content"),
  },
  /** The page for browsers without scripts. It needs no key, and may refuse at any time. */
  duckduckgo: {
    base: "https://html.duckduckgo.com/html/",
    request: ({ query, range }, base) => ({
      url: withQuery(base, { q: query, df: range }),
      headers: {
        Accept: "text/html",
        "User-Agent": `Mozilla/5.0 (compatible; picoclaw/${VERSION})`,
      },
    }),
    async hitsIn(html, count) {
      const hits = await hitsOfPage(html, count);
      if (hits.length > 0 || !/anomaly|challenge-form/i.test(html)) return hits;
      throw new SearchError(CAPTCHA);
    },
    statuses: { 202: CAPTCHA },
  },
};

/** HTTP statuses that concern the key: another key may work. */
const KEY_STATUSES: ReadonlySet<number> = new Set([401, 402, 403, 429]);

/**
 * A search with one of the services. Tries one key after the other until one works; the next search begins
 * with that key. A service without keys has one empty key.
 */
export function createSearch(name: SearchName, keys: readonly string[], base?: string): Search {
  const service = SERVICES[name];
  let first = 0;
  return async (wanted, sending) => {
    let last: unknown = new SearchError("it has no key");
    for (let step = 0; step < keys.length; step += 1) {
      const index = (first + step) % keys.length;
      try {
        const request = service.request(wanted, base ?? service.base, keys[index] ?? "");
        const text = await send(request, service.statuses ?? {}, sending);
        const hits = await service.hitsIn(text, wanted.count);
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

/**
 * Sends one request and returns the text of the response. Throws a `SearchError` for any status but 200. It
 * follows no redirect: a key must not go to another host.
 */
async function send(
  { url, headers, body }: ServiceRequest,
  statuses: Readonly<Record<number, string>>,
  { fetch, signal }: Sending,
): Promise<string> {
  const content = body === undefined ? { method: "GET" } : { method: "POST", body };
  const init: RequestInit = { headers, signal, redirect: "manual", ...content };
  const response = await fetch(url, init).catch((error: unknown) => {
    signal.throwIfAborted();
    throw new SearchError(wordsFor(error));
  });
  try {
    const { status } = response;
    if (status === 200) return await textOf(response, signal);
    throw new SearchError(statuses[status] ?? `it answers ${status}`, status);
  } finally {
    // The rest of the body is not needed.
    response.body?.cancel().catch(() => {});
  }
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

/** A URL with these parameters; undefined ones are left out. */
function withQuery(base: string, query: Readonly<Record<string, string | undefined>>): string {
  const url = new URL(base);
  url.search = "";
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) url.searchParams.set(name, value);
  }
  return url.href;
}

/** The JSON of a response. Throws a `SearchError` if it is not JSON. */
function parsedAnswer(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new SearchError("its answer is not JSON");
  }
}

/** The list `results`, with the texts of the results under a key. */
function hitsOf(answer: unknown, snippet: string): readonly Hit[] {
  return listAt(answer, "results").map((result) => ({
    title: textAt(result, "title"),
    url: textAt(result, "url"),
    snippet: textAt(result, snippet),
  }));
}

interface Reading {
  readonly hits: { title: string; url: string; snippet: string }[];
  /** What the next text is, and the element that ends it. */
  part: { readonly key: "title" | "snippet"; readonly name: string } | undefined;
}

/** Each result has a link of class `result__a`, then an element of class `result__snippet`. */
async function hitsOfPage(html: string, count: number): Promise<readonly Hit[]> {
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
  const url = URL.parse(link, SERVICES.duckduckgo.base);
  if (url === null) return "";
  const isOwn = /(?:^|\.)duckduckgo\.com$/.test(url.hostname);
  return isOwn ? (url.searchParams.get("uddg") ?? "") : url.href;
}
