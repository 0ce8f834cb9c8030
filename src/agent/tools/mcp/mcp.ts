import { settlesWithin } from "../../../base/async.ts";
import type { Log } from "../../../base/log.ts";
import type { McpSettings } from "../../../config/contract.ts";
import type { Message } from "../../contract.ts";
import type { Fetch } from "../../model/contract.ts";
import type { Tool } from "../contract.ts";
import type { HoldsSecret } from "../web/secret-leak.ts";
import { openTokens } from "./auth/tokens.ts";
import type { Learn, McpDocuments } from "./contract.ts";
import { serverEnvironment } from "./environment.ts";
import { isAmbiguous } from "./names.ts";
import { foundIn, patternSearch, wordSearch } from "./search.ts";
import { McpServer } from "./server.ts";
import { toolsOf } from "./tools.ts";
import type { McpTool } from "./tools.ts";

export interface McpOptions {
  readonly settings: McpSettings;
  /** Absolute path. `PATH` of a server has no folder below it. */
  readonly workspace: string;
  readonly fetch: Fetch;
  readonly log: Log;
  readonly documents: McpDocuments;
  readonly holdsSecret: HoldsSecret;
  /** Learns the secrets of files of variables, and tokens. */
  readonly learn: Learn;
}

export interface McpServerState {
  readonly name: string;
  readonly isConnected: boolean;
  /** Tools that can be used. */
  readonly tools: number;
}

/** The tools of one turn. */
export interface McpOffer {
  /** From the first model call on. */
  readonly tools: readonly Tool[];
  /** Calls `add` with the tools that a search of the turn finds. */
  onFound(add: (tools: readonly Tool[]) => void): void;
}

export interface McpTools {
  /** Resolves when each server was connected, or could not be; at most some seconds later. */
  settled(signal: AbortSignal): Promise<void>;
  /**
   * The tools that `isAllowed`, some only after a search: tools of servers that are deferred, or all if there are too
   * many. What the newest turns of the history found or called is offered again.
   */
  offer(isAllowed: (tool: Tool) => boolean, history: readonly Message[]): McpOffer;
  /** Whether there is a tool of that name, for whomever. */
  has(name: string): boolean;
  /** The servers, in the order of the configuration. */
  servers(): readonly McpServerState[];
  close(): Promise<void>;
}

/** Milliseconds that the first turns wait for servers. */
const SETTLE_MS = 5_000;
/** Tools that are offered without a search; providers take 128 in all. */
const MOST_OFFERED = 64;

/** Connects to all servers, and keeps them connected until `close`. */
export function openMcp(options: McpOptions): McpTools {
  const { settings, fetch, log, documents } = options;
  const names = settings.servers.map(({ name }) => name);
  const tools = new Map<string, readonly McpTool[]>(names.map((name) => [name, []]));
  const servers = settings.servers.map((one) => {
    const server: McpServer = new McpServer({
      settings: one,
      environment: () => serverEnvironment(one, options),
      openTokens: () => openTokens(one, options),
      fetch,
      documents,
      log,
      onTools: (listed) => {
        const made = toolsOf(listed, {
          ...options,
          server,
          isAmbiguous: isAmbiguous(one.name, names),
          seconds: one.timeout_seconds,
          characters: settings.max_inline_text_chars,
        });
        tools.set(one.name, made);
      },
    });
    return server;
  });
  const deferred = new Set(
    settings.servers
      .filter((one) => one.deferred ?? settings.discovery.enabled)
      .map(({ name }) => name),
  );
  let settling: Promise<unknown> | undefined = Promise.all(servers.map((one) => one.settled)).then(
    () => {
      settling = undefined;
    },
  );
  return {
    async settled(signal) {
      if (settling !== undefined) await settlesWithin(settling, SETTLE_MS, signal);
    },
    offer(isAllowed, history) {
      for (const server of servers) server.renew();
      const all = new Map<string, OfferedTool>();
      for (const [server, made] of tools) {
        for (const tool of made.filter(isAllowed)) {
          // No server takes the name of a tool of one that stands before it in the configuration.
          if (!all.has(tool.name)) all.set(tool.name, { tool, isDeferred: deferred.has(server) });
        }
      }
      return offerOf([...all.values()], settings.discovery, history);
    },
    has: (name) => [...tools.values()].flat().some((tool) => tool.name === name),
    servers: () =>
      servers.map(({ name, isConnected }) => {
        return { name, isConnected, tools: tools.get(name)?.length ?? 0 };
      }),
    async close() {
      await Promise.all(servers.map((server) => server.close()));
    },
  };
}

interface OfferedTool {
  readonly tool: McpTool;
  readonly isDeferred: boolean;
}

function offerOf(
  all: readonly OfferedTool[],
  discovery: McpSettings["discovery"],
  history: readonly Message[],
): McpOffer {
  const direct = all.filter(({ isDeferred }) => !isDeferred);
  const areTooMany = direct.length > MOST_OFFERED;
  const hidden = all.filter(({ isDeferred }) => isDeferred || areTooMany).map(({ tool }) => tool);
  const shown = areTooMany ? [] : direct.map(({ tool }) => tool);
  if (hidden.length === 0) return { tools: shown, onFound: () => {} };
  const known = namesIn(history, discovery.ttl);
  const offered = new Set(hidden.filter(({ name }) => known.has(name)).slice(-MOST_OFFERED));
  const before = [...offered];
  let add: ((tools: readonly Tool[]) => void) | undefined;
  const search = {
    tools: hidden,
    most: discovery.max_search_results,
    onFound: (found: readonly McpTool[]) => {
      const added = found.filter((tool) => !offered.has(tool));
      for (const tool of added) offered.add(tool);
      add?.(added);
    },
  };
  const isByWords = discovery.use_bm25 || !discovery.use_regex;
  return {
    tools: [
      ...shown,
      ...(isByWords ? [wordSearch(search)] : []),
      ...(discovery.use_regex ? [patternSearch(search)] : []),
      ...before,
    ],
    onFound: (given) => {
      add = given;
    },
  };
}

/** The names of tools that the newest turns of a history found or called. */
function namesIn(history: readonly Message[], turns: number): ReadonlySet<string> {
  const starts = history.flatMap(({ role }, index) => (role === "user" ? [index] : []));
  const newest = history.slice(starts.at(-turns) ?? 0);
  return new Set(
    newest.flatMap((message) => {
      if (message.role === "tool") return foundIn(message.text);
      if (message.role !== "assistant") return [];
      return (message.toolCalls ?? []).map(({ name }) => name);
    }),
  );
}
