import type {
  CallToolResult,
  ListToolsResult,
  Tool,
  Transport,
} from "@modelcontextprotocol/client";
import { Client, ProtocolError, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { onAbort, settlesWithin, startDeadline } from "../../../base/async.ts";
import { at } from "../../../base/unknown.ts";
import { VERSION } from "../../../base/version.ts";
import type { McpServerSettings } from "../../../config/contract.ts";
import type { Fetch } from "../../model/contract.ts";
import { ENDED } from "../exec/line-process.ts";
import type { TokenSource } from "./auth/token-source.ts";
import { httpTransport } from "./http.ts";
import type { HttpListeners } from "./http.ts";
import { mendAnswers } from "./mend.ts";
import { ServerError, serverError, shown } from "./server-error.ts";
import { StdioTransport } from "./stdio.ts";

export interface ConnectOptions {
  readonly settings: McpServerSettings;
  /** All variables of a program. */
  readonly env: Readonly<Record<string, string>>;
  readonly fetch: Fetch;
  /** The tokens of OAuth; absent if it needs none. */
  readonly tokens?: TokenSource | undefined;
  /** It is known to speak a version before 2026-07-28. */
  readonly isLegacy?: boolean;
  readonly signal: AbortSignal;
  /** Called when the server says that its list of tools has changed. */
  readonly onToolsChanged?: () => void;
  /** Called for a request of the server, which is refused or cancelled. */
  readonly onRefused?: (method: string) => void;
  /** Called once, when the open connection is lost or closed. */
  readonly onLost?: () => void;
}

/** An open connection to a server. */
export interface Connection {
  /** The version of the protocol. */
  readonly version: string;
  readonly isLegacy: boolean;
  /** What the server calls itself. */
  readonly server: string;
  /** All tools of the server. Throws a `ServerError`. */
  list(signal: AbortSignal): Promise<ToolList>;
  /** Throws a `ServerError`, and the signal's reason. */
  call(
    tool: Tool,
    input: Readonly<Record<string, unknown>>,
    signal: AbortSignal,
  ): Promise<CallToolResult>;
  close(): Promise<void>;
}

export interface ToolList {
  readonly tools: readonly Tool[];
  /** There were more than are read. */
  readonly isCut: boolean;
  /** Milliseconds for which the list holds; undefined if the server does not say. */
  readonly ttlMs: number | undefined;
}

/** Milliseconds to connect: npx may fetch the program first. */
const CONNECT_MS = { stdio: 60_000, http: 20_000 } as const;
/** Milliseconds for the answer to the first question, which older servers leave out. */
const PROBE_MS = { stdio: 5_000, http: 10_000 } as const;
const LIST_MS = 20_000;
const MAX_PAGES = 20;
const MAX_TOOLS = 500;

/** Connects to a server: at version 2026-07-28 of the protocol, or at an older one. Throws a `ServerError`. */
export async function connect(options: ConnectOptions): Promise<Connection> {
  const { settings, signal, isLegacy = false } = options;
  const milliseconds = CONNECT_MS[settings.type];
  const deadline = startDeadline(milliseconds, { parent: signal });
  try {
    return await connectOnce(options, deadline.signal);
  } catch (thrown) {
    signal.throwIfAborted();
    if (deadline.isOver()) {
      throw new ServerError("late", `it was not connected within ${milliseconds / 1000} s`);
    }
    // Older programs may end at a question that they do not know, instead of refusing it.
    const isEnded = thrown instanceof ServerError && thrown.message.startsWith(ENDED);
    if (!isEnded || isLegacy || settings.type !== "stdio") throw thrown;
    return await connectOnce({ ...options, isLegacy: true }, deadline.signal);
  } finally {
    deadline.close();
  }
}

async function connectOnce(options: ConnectOptions, signal: AbortSignal): Promise<Connection> {
  const { settings, isLegacy = false, onToolsChanged, onRefused, onLost } = options;
  const client = new Client(
    { name: "picoclaw", version: VERSION },
    {
      capabilities: {},
      inputRequired: { autoFulfill: false },
      versionNegotiation: { mode: "auto", probe: { timeoutMs: PROBE_MS[settings.type] } },
      listChanged: {
        tools: { autoRefresh: false, debounceMs: 0, onChanged: () => onToolsChanged?.() },
      },
    },
  );
  let flood = "";
  let withoutToken: ServerError | undefined;
  const transport = transportOf(options, {
    onFlood: () => {
      flood = "it sent too much";
      void client.close();
    },
    onNoToken: (error) => {
      withoutToken = error;
    },
  });
  mendAnswers(transport);
  client.fallbackRequestHandler = ({ method }) => {
    onRefused?.(method);
    return refusal(method);
  };
  const whyLost = (): string => flood || ("why" in transport ? String(transport.why) : "");
  // The first question of the client does not listen to the signal.
  const stopListening = onAbort(signal, () => void transport.close());
  try {
    const more = isLegacy ? { prior: { kind: "legacy" } as const } : {};
    await client.connect(transport, { ...more, signal, timeout: CONNECT_MS[settings.type] });
  } catch (thrown) {
    // The client replaces errors of its first question.
    const error = withoutToken ?? serverError(thrown, whyLost());
    await transport.close();
    throw error;
  } finally {
    stopListening();
  }
  // oxlint-disable-next-line unicorn/prefer-add-event-listener -- it is no event target
  client.onclose = () => onLost?.();
  const deps = { client, settings, whyLost };
  return {
    version: client.getNegotiatedProtocolVersion() ?? "",
    isLegacy: client.getProtocolEra() !== "modern",
    server: nameOf(client),
    list: (limit) => listTools(deps, limit),
    call: (tool, input, limit) => callTool(deps, tool, input, limit),
    async close() {
      if (transport instanceof StreamableHTTPClientTransport) await endSession(transport);
      await client.close();
    },
  };
}

/** The answer to what a server asks, although this client offers no such thing. */
function refusal(method: string): Promise<{ readonly action: string }> {
  // Nobody sees a question for a person.
  if (method === "elicitation/create") return Promise.resolve({ action: "cancel" });
  const text = "this client offers no sampling, elicitation or roots";
  return Promise.reject(new ProtocolError(-32_601, text));
}

const END_MS = 1000;

/** Lets the server forget the session. It need not answer. */
async function endSession(transport: StreamableHTTPClientTransport): Promise<void> {
  await settlesWithin(transport.terminateSession(), END_MS).catch(() => false);
}

function transportOf(options: ConnectOptions, listeners: HttpListeners): Transport {
  const { settings, env } = options;
  if (settings.type === "http") return httpTransport(options, listeners);
  return new StdioTransport({ command: [settings.command, ...settings.args], env });
}

function nameOf(client: Client): string {
  const { name = "", version = "" } = client.getServerVersion() ?? {};
  return shown(`${name} ${version}`.trim());
}

interface Deps {
  readonly client: Client;
  readonly settings: McpServerSettings;
  /** Why the connection is lost; "" if it is not known. */
  readonly whyLost: () => string;
}

/** Reads the pages itself: the client writes to the console about lists that it does not like. */
async function listTools({ client, whyLost }: Deps, signal: AbortSignal): Promise<ToolList> {
  if (client.getServerCapabilities()?.tools === undefined) {
    return { tools: [], isCut: false, ttlMs: undefined };
  }
  const tools: Tool[] = [];
  let cursor: string | undefined;
  let ttlMs: number | undefined;
  try {
    for (let page = 0; page < MAX_PAGES && tools.length < MAX_TOOLS; page += 1) {
      const params = cursor === undefined ? {} : { cursor };
      const result: ListToolsResult = await client.request(
        { method: "tools/list", params },
        { signal, timeout: LIST_MS },
      );
      tools.push(...result.tools);
      const ttl = at(result, "ttlMs");
      if (typeof ttl === "number") ttlMs = Math.min(ttl, ttlMs ?? ttl);
      cursor = result.nextCursor;
      if (cursor === undefined) break;
    }
  } catch (thrown) {
    signal.throwIfAborted();
    throw serverError(thrown, whyLost());
  }
  const isCut = cursor !== undefined || tools.length > MAX_TOOLS;
  return { tools: tools.slice(0, MAX_TOOLS), isCut, ttlMs };
}

async function callTool(
  { client, settings, whyLost }: Deps,
  tool: Tool,
  input: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<CallToolResult> {
  const timeout = settings.timeout_seconds * 1000;
  try {
    return await client.callTool(
      { name: tool.name, arguments: { ...input } },
      { signal, timeout, toolDefinition: tool },
    );
  } catch (thrown) {
    signal.throwIfAborted();
    throw serverError(thrown, whyLost());
  }
}
