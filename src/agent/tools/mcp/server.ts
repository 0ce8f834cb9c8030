import type { CallToolResult, Tool as ServerTool } from "@modelcontextprotocol/client";
import { Lazy, pause, settlesWithin } from "../../../base/async.ts";
import { escapeControl } from "../../../base/escape-control.ts";
import { truncate } from "../../../base/truncate.ts";
import type { McpServerSettings } from "../../../config/contract.ts";
import { ToolError } from "../contract.ts";
import type { TokenSource } from "./auth/token-source.ts";
import { connect } from "./connection.ts";
import type { Connection, ConnectOptions, ToolList } from "./connection.ts";
import { KnownTools } from "./known-tools.ts";
import type { KnownToolsOptions } from "./known-tools.ts";
import { ServerError } from "./server-error.ts";

export interface McpServerOptions extends KnownToolsOptions {
  readonly settings: McpServerSettings;
  /** The variables of its program; read anew at each start. */
  readonly environment: () => Promise<Readonly<Record<string, string>>>;
  readonly fetch: ConnectOptions["fetch"];
  /** Its tokens; called once. */
  readonly openTokens: () => Promise<TokenSource | undefined>;
  /** Called when its tools are there for the first time, and when they change. */
  readonly onTools: (tools: readonly ServerTool[]) => void;
}

/** Milliseconds before a lost server is connected again; doubled each time, until it answers a call or lasts. */
const FIRST_REST_MS = 1000;
const LONGEST_REST_MS = 5 * 60_000;
/** The same while a person has to log in, which costs the look at a file. */
const LOGIN_REST_MS = 8000;
/** Milliseconds after which a connection counts as good. */
const LASTING_MS = 60_000;
/** Milliseconds between two readings of a list that changes. */
const LIST_REST_MS = 5000;
/** The bounds of how long a list holds, if the server says so. */
const LEAST_TTL_MS = 60_000;
const MOST_TTL_MS = 24 * 3_600_000;
/** Milliseconds that a call waits for a server that is being connected. */
const CALL_PATIENCE_MS = 10_000;
/** Calls of one server at the same time. */
const MAX_CALLS = 32;
/** Calls without an answer in a row, after which it is connected anew. */
const MAX_UNANSWERED = 3;
/** Refused requests of one connection that are warned of. */
const MAX_WARNINGS = 5;

/** One server. It is connected until `close`, and again when it is lost. Its faults concern its own tools only. */
export class McpServer {
  readonly name: string;
  readonly #options: McpServerOptions;
  readonly #closing = new AbortController();
  #connection: Connection | undefined;
  /** Connections that were opened, or could not be. */
  #opened = 0;
  /** Resolves when the connections that were dropped have ended. */
  #dropped: Promise<unknown> = Promise.resolve();
  #connecting: Promise<void> | undefined;
  #lost = Promise.withResolvers<void>();
  /** Resolves when it was tried to connect, after it was lost. */
  #attempt = Promise.withResolvers<void>();
  /** Ends a rest. */
  #hurry = Promise.withResolvers<void>();
  #listing: Promise<void> | undefined;
  #isLegacy = false;
  #rest = FIRST_REST_MS;
  #calls = 0;
  #unanswered = 0;
  #listedAt = 0;
  /** When the list was read again. */
  #readAt = Number.NEGATIVE_INFINITY;
  #ttlMs: number | undefined;
  #why = "it is not connected yet";
  #lacksLogin = false;
  readonly #tokens: Lazy<TokenSource | undefined>;
  readonly #known: KnownTools;
  readonly #running: Promise<void>;
  readonly #first = Promise.withResolvers<void>();

  /** Starts to connect at once. */
  constructor(options: McpServerOptions) {
    this.name = options.settings.name;
    this.#options = options;
    this.#tokens = new Lazy(options.openTokens);
    this.#known = new KnownTools(options);
    this.#running = this.#run();
  }

  /** Resolves when it was connected, or could not be, for the first time. */
  get settled(): Promise<void> {
    return this.#first.promise;
  }

  get isConnected(): boolean {
    return this.#connection !== undefined;
  }

  /** Reads the list of tools again in the background, if it holds no longer, or tools of it may be used by now. */
  renew(): void {
    if (this.#connection === undefined) return;
    const isOld = this.#ttlMs !== undefined && performance.now() - this.#listedAt > this.#ttlMs;
    if (isOld || this.#known.leavesOut) void this.#refresh();
  }

  /** Calls a tool. Throws a `ToolError` that says what is wrong with the server, and the signal's reason. */
  async call(
    tool: ServerTool,
    input: Readonly<Record<string, unknown>>,
    signal: AbortSignal,
  ): Promise<CallToolResult> {
    if (this.#calls >= MAX_CALLS) throw this.#error("it has too many calls at once");
    this.#calls += 1;
    try {
      return await this.#callOnce(tool, input, signal).catch((thrown: unknown) => {
        const isForgotten = thrown instanceof ServerError && thrown.isForgotten;
        if (!isForgotten) throw thrown;
        return this.#callAgain(tool, input, signal);
      });
    } catch (thrown) {
      signal.throwIfAborted();
      if (!(thrown instanceof ServerError)) throw thrown;
      const isUnknown = thrown.kind === "late" || thrown.kind === "lost";
      const more = isUnknown ? "; whether the call took effect is not known" : "";
      throw this.#error(`${thrown.message}${more}`);
    } finally {
      this.#calls -= 1;
    }
  }

  /** Ends the connection, and the program with everything that it started. */
  async close(): Promise<void> {
    this.#closing.abort(new ServerError("lost", "the program is ending"));
    await Promise.all([this.#connection?.close(), this.#dropped]);
    await this.#running;
  }

  async #callOnce(
    tool: ServerTool,
    input: Readonly<Record<string, unknown>>,
    signal: AbortSignal,
  ): Promise<CallToolResult> {
    if (this.#connection === undefined && this.#connecting !== undefined) {
      await settlesWithin(this.#connecting, CALL_PATIENCE_MS, signal);
    }
    const connection = this.#connection;
    if (connection === undefined) throw this.#error(this.#why);
    try {
      const result = await connection.call(tool, input, signal);
      [this.#unanswered, this.#rest] = [0, FIRST_REST_MS];
      return result;
    } catch (thrown) {
      if (thrown instanceof ServerError) this.#dropIfUseless(thrown, connection);
      throw thrown;
    }
  }

  /** Calls once the server is connected anew, which it is at once. */
  async #callAgain(...call: Parameters<McpServer["call"]>): Promise<CallToolResult> {
    this.#hurry.resolve();
    await settlesWithin(this.#attempt.promise, CALL_PATIENCE_MS, call[2]);
    return await this.#callOnce(...call);
  }

  /** Drops a connection that is lost, and one that answers no more. */
  #dropIfUseless({ kind, message }: ServerError, connection: Connection): void {
    this.#unanswered = kind === "late" ? this.#unanswered + 1 : 0;
    if (kind !== "lost" && this.#unanswered < MAX_UNANSWERED) return;
    if (connection !== this.#connection) return;
    this.#onLost(kind === "lost" ? message : "it answered none of its last calls in time");
    this.#dropped = Promise.all([this.#dropped, connection.close()]);
  }

  #error(why: string): ToolError {
    return new ToolError(`the MCP server ${this.name} failed: ${why}`);
  }

  /** Connects until `close`, with growing rests. */
  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      const startedAt = performance.now();
      this.#connecting = this.#open();
      await this.#connecting;
      this.#connecting = undefined;
      this.#attempt.resolve();
      this.#first.resolve();
      if (this.#connection !== undefined) await this.#lost.promise;
      if (signal.aborted) return;
      if (performance.now() - startedAt > LASTING_MS) this.#rest = FIRST_REST_MS;
      // Without a login nothing is sent: it is enough to say so once.
      const level = this.#lacksLogin && this.#rest > FIRST_REST_MS ? "debug" : "warn";
      const facts = { server: this.name, why: this.#why, rest_ms: this.#rest };
      this.#options.log[level]("an MCP server is not connected", facts);
      await settlesWithin(this.#hurry.promise, this.#rest, signal).catch(() => false);
      const longest = this.#lacksLogin ? LOGIN_REST_MS : LONGEST_REST_MS;
      this.#rest = Math.min(2 * this.#rest, longest);
    }
  }

  /** Connects and reads the list of tools. Does not reject. */
  async #open(): Promise<void> {
    const { settings, environment, fetch, log } = this.#options;
    const { signal } = this.#closing;
    this.#lost = Promise.withResolvers();
    this.#opened += 1;
    const number = this.#opened;
    let opened: Connection | undefined;
    let isLost = false;
    let refused = 0;
    try {
      opened = await connect({
        settings,
        env: await environment(),
        fetch,
        tokens: await this.#tokens.load(),
        // A server of HTTP may be another one tomorrow, and asking it is cheap.
        isLegacy: this.#isLegacy && settings.type === "stdio",
        signal,
        onToolsChanged: () => void this.#refresh(),
        onRefused: (method) => {
          const asked = escapeControl(truncate(method, 100));
          refused += 1;
          const level = refused > MAX_WARNINGS ? "debug" : "warn";
          log[level]("a request of an MCP server was refused", { server: this.name, asked });
        },
        onLost: () => {
          isLost = true;
          // One that was dropped may take seconds to end.
          if (number === this.#opened) this.#onLost("it closed the connection");
        },
      });
      this.#isLegacy = opened.isLegacy;
      const list = await opened.list(signal);
      if (isLost) throw new ServerError("lost", "it closed the connection");
      await this.#take(list);
      this.#connection = opened;
      const { version, server: is } = opened;
      const tools = list.tools.length;
      log.info("connected to an MCP server", { server: this.name, is, version, tools });
    } catch (thrown) {
      this.#why = thrown instanceof Error ? thrown.message : "for no reason";
      this.#lacksLogin = thrown instanceof ServerError && thrown.kind === "login";
      await opened?.close();
    }
  }

  #onLost(why: string): void {
    if (this.#connection !== undefined) {
      this.#why = why;
      this.#attempt = Promise.withResolvers();
      this.#hurry = Promise.withResolvers();
    }
    this.#connection = undefined;
    [this.#unanswered, this.#listing] = [0, undefined];
    this.#lost.resolve();
  }

  /** Reads the list again; that of a server that changes it all the time every five seconds. */
  async #refresh(): Promise<void> {
    this.#listing ??= this.#readAgain();
    await this.#listing;
  }

  async #readAgain(): Promise<void> {
    const { signal } = this.#closing;
    try {
      await pause(Math.max(0, this.#readAt + LIST_REST_MS - performance.now()), signal);
      [this.#readAt, this.#listing] = [performance.now(), undefined];
      const list = await this.#connection?.list(signal);
      if (list !== undefined) await this.#take(list);
    } catch (thrown) {
      if (signal.aborted) return;
      const why = thrown instanceof Error ? thrown.message : "";
      this.#options.log.warn("the tools of an MCP server were not read", {
        server: this.name,
        why,
      });
    }
  }

  async #take({ tools, isCut, ttlMs }: ToolList): Promise<void> {
    const { log, onTools } = this.#options;
    this.#listedAt = performance.now();
    this.#ttlMs =
      ttlMs === undefined ? undefined : Math.min(Math.max(ttlMs, LEAST_TTL_MS), MOST_TTL_MS);
    if (isCut)
      log.warn("an MCP server has too many tools", { server: this.name, used: tools.length });
    onTools(await this.#known.take(tools));
  }
}
