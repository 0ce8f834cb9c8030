import { isJSONRPCNotification, isJSONRPCRequest } from "@modelcontextprotocol/server";
import type { JSONRPCNotification, JSONRPCRequest } from "@modelcontextprotocol/server";
import type { JSONRPCMessage, Server, Transport } from "@modelcontextprotocol/server";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { at, fromJson } from "../../base/unknown.ts";
import { createMcpServer, type McpServerOptions } from "./server.ts";

export interface McpSessionsOptions extends McpServerOptions {
  readonly log: Log;
}

/** A message of a client, which is untrusted. */
export interface McpMessage {
  readonly client: string;
  readonly text: string;
  /** Only `initialize` is heard: the transport does not know that it is from this client. */
  readonly isControl: boolean;
}

/** Delivers a message to the client. Rejects with a `Failure`, `too_large` if it is. */
type Send = (text: string) => Promise<void>;

const MOST_SESSIONS = 64;
/** Requests of a client at a time. */
const MOST_REQUESTS = 16;
const SERVER_ERROR = -32_000;

/** Servers of the Model Context Protocol for clients that keep a transport, one for each client. */
export class McpSessions {
  readonly #options: McpSessionsOptions;
  /** By client; the one that was silent for longest is the first. */
  readonly #sessions = new Map<string, McpSession>();

  constructor(options: McpSessionsOptions) {
    this.#options = options;
  }

  /** Does not throw. */
  receive({ client, text, isControl }: McpMessage, send: Send): void {
    const message = messageIn(text);
    if (message === undefined || (isControl && message.method !== "initialize")) return;
    const session = this.#sessions.get(client) ?? this.#open(client, send);
    if (session === undefined) {
      this.#options.log.debug("an MCP client is refused: too many have requests open", { client });
      return;
    }
    this.#sessions.delete(client);
    this.#sessions.set(client, session);
    session.receive(message);
  }

  /** The client has left: its turns are cancelled. */
  end(client: string): void {
    this.#sessions.get(client)?.end();
    this.#sessions.delete(client);
  }

  close(): void {
    for (const client of this.#sessions.keys()) this.end(client);
  }

  /** A client that was silent starts anew with its next request. Undefined if there is no room. */
  #open(client: string, send: Send): McpSession | undefined {
    if (this.#sessions.size >= MOST_SESSIONS) {
      const idle = this.#sessions.entries().find(([, { isIdle }]) => isIdle);
      if (idle === undefined) return undefined;
      this.end(idle[0]);
    }
    return new McpSession(this.#options, client, send);
  }
}

type FromClient = JSONRPCRequest | JSONRPCNotification;

/** The transport of one client. */
class McpSession implements Transport {
  onmessage?: Transport["onmessage"];
  onclose?: () => void;
  readonly #server: Server;
  readonly #send: Send;
  readonly #gone = new AbortController();
  /** The ids of requests that have no response yet. */
  readonly #open = new Set<unknown>();
  readonly #log: Log;

  constructor(options: McpSessionsOptions, client: string, send: Send) {
    this.#send = send;
    this.#log = options.log;
    this.#server = createMcpServer(options, { client, gone: this.#gone.signal });
    // oxlint-disable-next-line unicorn/prefer-add-event-listener -- it is no event target
    this.#server.onerror = (error) => this.#failed(error);
    this.#server.connect(this).catch((error: unknown) => this.#failed(error));
  }

  get isIdle(): boolean {
    return this.#open.size === 0;
  }

  receive(message: FromClient): void {
    if (message.method === "notifications/cancelled") {
      this.#open.delete(at(message.params, "requestId"));
    }
    if ("id" in message) {
      const { id } = message;
      if (this.#open.has(id)) return;
      if (this.#open.size >= MOST_REQUESTS) {
        const refused = this.#refuse(id, "too many requests are open");
        refused.catch((error: unknown) => this.#failed(error));
        return;
      }
      this.#open.add(id);
    }
    this.onmessage?.(message);
  }

  end(): void {
    this.#gone.abort();
    this.#server.close().catch((error: unknown) => this.#failed(error));
  }

  async start(): Promise<void> {}

  async send(message: JSONRPCMessage): Promise<void> {
    const id = "method" in message ? undefined : at(message, "id");
    try {
      await this.#send(JSON.stringify(message));
    } catch (thrown) {
      const failure = asFailure(thrown);
      if (id === undefined || failure.code !== "too_large") throw thrown;
      await this.#refuse(id, failure.message);
    } finally {
      this.#open.delete(id);
    }
  }

  async close(): Promise<void> {
    this.onclose?.();
  }

  #refuse(id: unknown, message: string): Promise<void> {
    return this.#send(
      JSON.stringify({ jsonrpc: "2.0", id, error: { code: SERVER_ERROR, message } }),
    );
  }

  #failed(error: unknown): void {
    this.#log.debug("an MCP message failed", { why: asFailure(error).message });
  }
}

/** Undefined for what is no message; the server asks nothing, so there are no responses either. */
function messageIn(text: string): FromClient | undefined {
  try {
    const found = fromJson(text);
    return isJSONRPCRequest(found) || isJSONRPCNotification(found) ? found : undefined;
  } catch {
    return undefined;
  }
}
