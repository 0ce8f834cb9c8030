import { listAt, textAt } from "../../../base/unknown.ts";
import { parsedAnswer, RANGE_WORDS, SearchFault } from "./search.ts";
import type { Search } from "./search.ts";

/** Searches with a SearXNG of one's own; it must allow the format json in its settings. */
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
        if (!(error instanceof SearchFault) || error.status !== 403) throw error;
        throw new SearchFault("it answers 403: its settings must allow the format json", 403);
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
