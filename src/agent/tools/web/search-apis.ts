import { at, listAt, textAt } from "../../../base/unknown.ts";
import { createKeyed, parsedAnswer, RANGE_WORDS, SearchError } from "./search.ts";
import type { Search } from "./search.ts";

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
