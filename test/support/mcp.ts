import { join } from "node:path";
import process from "node:process";
import { FULL_ACCESS } from "../../src/agent/access/permissions.ts";
import type { CallContext, Tool } from "../../src/agent/tools/contract.ts";
import type { McpDocuments } from "../../src/agent/tools/mcp/contract.ts";
import type { McpTools } from "../../src/agent/tools/mcp/mcp.ts";
import { openMcp } from "../../src/agent/tools/mcp/mcp.ts";
import { callContextOf, runTool } from "../../src/agent/tools/run.ts";
import { Secret } from "../../src/base/secret.ts";
import type { McpAuthSettings, McpServerSettings, McpSettings } from "../../src/config/contract.ts";
import { createMemoryLog } from "./memory-log.ts";
import type { MemoryLog } from "./memory-log.ts";

/** The program that `programServer` runs. */
export const MCP_PROGRAM = join(import.meta.dirname, "mcp-program.mjs");

const packages = join(import.meta.dirname, "../../node_modules/@modelcontextprotocol");
export const EVERYTHING = join(packages, "server-everything/dist/index.js");
export const FILESYSTEM = join(packages, "server-filesystem/dist/index.js");

type Given = Omit<Partial<McpServerSettings>, "env" | "headers" | "auth"> & {
  readonly auth?: McpAuthSettings;
  readonly env?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
};

/** The settings of a server, with their defaults. */
export function mcpServer({ env = {}, headers = {}, ...more }: Given): McpServerSettings {
  return {
    name: "test",
    type: "stdio",
    command: "",
    args: [],
    url: "",
    timeout_seconds: 20,
    pin: false,
    ...more,
    env: secretTexts(env),
    headers: secretTexts(headers),
  };
}

function secretTexts(texts: Readonly<Record<string, string>>): Readonly<Record<string, Secret>> {
  return Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, new Secret(text)]));
}

/** A server that is a script of node's, run by this runtime. */
export function scriptServer(script: string, args: readonly string[], more: Given = {}) {
  const runner = "deno" in process.versions ? ["run", "-A", "--quiet"] : [];
  return mcpServer({ command: process.execPath, args: [...runner, script, ...args], ...more });
}

/** A server that does what the plan says; `mcp-program.mjs` says what it may say. */
export function programServer(plan: object, more: Given = {}): McpServerSettings {
  return scriptServer(MCP_PROGRAM, [JSON.stringify(plan)], more);
}

/** Documents that a test can look at. */
export function mapDocuments(found = new Map<string, object>()): McpDocuments {
  return {
    read: (name) => Promise.resolve(found.get(name)),
    write: async (name, document) => void found.set(name, document),
    remove: async (name) => void found.delete(name),
  };
}

/** The tools of servers as a turn gets them. */
export interface TestMcp extends AsyncDisposable {
  readonly mcp: McpTools;
  readonly log: MemoryLog;
  readonly learned: string[];
  /** The tools of a turn that may use all. */
  readonly tools: () => readonly Tool[];
  /** Runs a call of a model. */
  readonly run: (name: string, input?: object, more?: Partial<CallContext>) => Promise<string>;
}

/** Opens these servers, and waits until each is connected or could not be. */
export async function openTestMcp(
  servers: readonly McpServerSettings[],
  discovery: Partial<McpSettings["discovery"]> = {},
  documents: McpDocuments = mapDocuments(),
): Promise<TestMcp> {
  const log = createMemoryLog();
  const learned: string[] = [];
  const settings: McpSettings = {
    max_inline_text_chars: 2000,
    discovery: {
      enabled: false,
      ttl: 5,
      max_search_results: 5,
      use_bm25: true,
      use_regex: false,
      ...discovery,
    },
    servers,
  };
  const mcp = openMcp({
    settings,
    workspace: "/tmp/picoclaw-no-workspace",
    fetch: globalThis.fetch,
    log,
    documents,
    holdsSecret: (text) => text.includes("CANARY"),
    learn: (secrets) => void learned.push(...secrets),
  });
  const signal = AbortSignal.timeout(60_000);
  await mcp.settled(signal);
  const tools = (): readonly Tool[] => mcp.offer(() => true, []).tools;
  return {
    mcp,
    log,
    learned,
    tools,
    run: (name, input = {}, more = {}) =>
      runTool(
        { id: "1", name, arguments: JSON.stringify(input) },
        { ...callContextOf({ client: "kitchen", signal }, FULL_ACCESS), ...more, tools: tools() },
      ),
    [Symbol.asyncDispose]: () => mcp.close(),
  };
}
