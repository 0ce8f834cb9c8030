import { at, listAt, textAt } from "../../../base/unknown.ts";
import { createKeyed, parsedAnswer } from "./search.ts";
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
