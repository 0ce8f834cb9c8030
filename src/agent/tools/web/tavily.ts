import { listAt, textAt } from "../../../base/unknown.ts";
import { createKeyed, parsedAnswer, RANGE_WORDS } from "./search.ts";
import type { Search } from "./search.ts";

const TAVILY = "https://api.tavily.com/search";

/** Searches with the Tavily API; `base` is the address of its search, or of the host alone. */
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
