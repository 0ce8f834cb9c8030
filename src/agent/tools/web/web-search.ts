import * as v from "valibot";
import { startDeadline } from "../../../base/async.ts";
import { escapeControl } from "../../../base/escape-control.ts";
import type { Log } from "../../../base/log.ts";
import { truncate } from "../../../base/truncate.ts";
import type { KeyedSearch, SearchName, WebSettings } from "../../../config/contract.ts";
import type { Fetch } from "../../model/contract.ts";
import { RefusedCall, ToolError } from "../contract.ts";
import type { Tool } from "../contract.ts";
import { defineTool } from "../define.ts";
import { proxiedFetch } from "./request.ts";
import { createSearch, SearchError } from "./search-services.ts";
import type { Hit, Search, Sending, Wanted } from "./search-services.ts";
import { HELD_BACK } from "./secret-leak.ts";
import type { HoldsSecret } from "./secret-leak.ts";

export interface WebSearchOptions {
  readonly settings: WebSettings;
  readonly fetch: Fetch;
  readonly log: Log;
  /** Whether a query contains a secret of the configuration. */
  readonly holdsSecret?: HoldsSecret;
  /** URLs of other servers, for tests. */
  readonly bases?: Partial<Record<"brave" | "tavily" | "duckduckgo", string>>;
  /** Milliseconds of one call; default 30 s. */
  readonly milliseconds?: number;
}

const SEARCH_MS = 30_000;
const MOST = 10;
const MAX_QUERY = 400;
/** The order of the searches if the settings do not name one. */
const ORDER: readonly SearchName[] = ["searxng", "brave", "tavily", "duckduckgo"];

const input = v.object({
  query: v.pipe(v.string(), v.nonEmpty("it is empty")),
  count: v.optional(
    v.pipe(
      v.number(),
      v.integer(),
      v.minValue(1),
      v.maxValue(MOST),
      v.description("At most so many results."),
    ),
  ),
  range: v.optional(
    v.pipe(
      v.picklist(["d", "w", "m", "y"]),
      v.description("Results of the last day, week, month or year."),
    ),
  ),
});

/**
 * The tool that searches the web with the service that the settings name; if they name none, with the first
 * service that answers. Undefined if no service can be used.
 */
export function createWebSearch(options: WebSearchOptions): Tool | undefined {
  const { settings, log, holdsSecret, milliseconds = SEARCH_MS } = options;
  const searches = chosenSearches(settings, log).map((name): Named => {
    return { name, search: searchNamed(name, options), usual: usualCount(settings[name]) };
  });
  if (searches.length === 0) return undefined;
  return defineTool({
    name: "web_search",
    description: "Searches the web: titles, URLs and snippets. Read a page with web_fetch.",
    input,
    milliseconds: milliseconds + 5_000,
    async run({ query: written, count, range }, { signal }) {
      const fetch = proxiedFetch(options.fetch, settings.proxy);
      const query = written.trim().slice(0, MAX_QUERY);
      if (holdsSecret?.(query)) throw new RefusedCall(`the query was not sent: ${HELD_BACK}`);
      const end = performance.now() + milliseconds;
      const faults: string[] = [];
      for (const [index, named] of searches.entries()) {
        // A service that does not answer leaves the next ones their share of the time.
        const share = Math.round((end - performance.now()) / (searches.length - index));
        const { name, search, usual } = named;
        const wanted = { query, count: count ?? usual, range };
        try {
          const hits = await searchWithin(share, search, wanted, { fetch, signal });
          return await listText(hits, query, name);
        } catch (error) {
          if (!(error instanceof SearchError)) throw error;
          log.warn("a search failed", { search: name, why: error.message });
          faults.push(`${name} ${error.message}`);
        }
      }
      throw new ToolError(faults.join("; "));
    },
  });
}

interface Named {
  readonly name: SearchName;
  readonly search: Search;
  /** How many results if the model does not say. */
  readonly usual: number;
}

/** The results of a search that answers in time. Throws a `SearchError`, or the signal's reason. */
async function searchWithin(
  milliseconds: number,
  search: Search,
  wanted: Wanted,
  { fetch, signal }: Sending,
): Promise<readonly Hit[]> {
  const limit = startDeadline(milliseconds, { parent: signal });
  try {
    const hits = await search(wanted, { fetch, signal: limit.signal });
    return hits.slice(0, wanted.count);
  } catch (error) {
    signal.throwIfAborted();
    if (limit.isOver()) throw new SearchError(`gave no answer within ${milliseconds / 1000} s`);
    if (!(error instanceof SearchError)) throw error;
    throw new SearchError(`gave no results: ${error.message}`);
  } finally {
    limit.close();
  }
}

function usualCount({ max_results }: WebSettings[SearchName]): number {
  return Math.min(MOST, Math.max(1, max_results || 5));
}

/** The service that the settings name, if it is configured; otherwise all configured services, in order. */
function chosenSearches(settings: WebSettings, log: Log): readonly SearchName[] {
  const { provider } = settings;
  const all = ORDER.filter((name) => isUsable(name, settings));
  if (provider === "auto") return all;
  if (isUsable(provider, settings)) return [provider];
  log.warn("tools.web.provider names a search that is not enabled, or lacks a key or a URL", {
    provider,
    instead: all[0] ?? "none",
  });
  return all;
}

function isUsable(name: SearchName, settings: WebSettings): boolean {
  if (!settings[name].enabled) return false;
  if (name === "searxng") return settings.searxng.base_url !== "";
  return name === "duckduckgo" || keysOf(settings[name]).length > 0;
}

/** The keys that a header can contain; others cannot be keys. */
function keysOf({ api_keys }: KeyedSearch): string[] {
  return api_keys.map((key) => key.reveal().trim()).filter((key) => /^[\u0021-\u007e]+$/.test(key));
}

function searchNamed(name: SearchName, { settings, bases = {} }: WebSearchOptions): Search {
  switch (name) {
    case "searxng":
      return createSearch(name, [""], settings.searxng.base_url);
    case "brave":
      return createSearch(name, keysOf(settings.brave), bases.brave);
    case "tavily":
      return createSearch(
        name,
        keysOf(settings.tavily),
        bases.tavily ?? (settings.tavily.base_url || undefined),
      );
    case "duckduckgo":
    default:
      return createSearch(name, [""], bases.duckduckgo);
  }
}

async function listText(hits: readonly Hit[], query: string, name: SearchName): Promise<string> {
  // The HTML parser is loaded with the first results.
  const { lineOf } = await import("./html-text.ts");
  const shown = hits.filter(({ url }) => /^https?:\/\//i.test(url));
  if (shown.length === 0) return `Nothing was found for ${JSON.stringify(query)} (${name}).`;
  const items = shown.map(({ title, url, snippet }, index) => {
    const lines = [
      `${index + 1}. ${truncate(lineOf(title), 200) || "(no title)"}`,
      `   ${escapeControl(url.slice(0, 1000))}`,
      `   ${truncate(lineOf(snippet), 500)}`,
    ];
    return lines.filter((line) => line.trim() !== "").join("\n");
  });
  return `Results for ${JSON.stringify(query)} (${name}):\n${items.join("\n")}`;
}
