import type { Check } from "../../../base/contract.ts";
import { messageOf } from "../../../base/failure.ts";
import type { Log } from "../../../base/log.ts";
import type { McpServerSettings } from "../../../config/contract.ts";
import type { Fetch } from "../../model/contract.ts";
import { openTokens } from "./auth/tokens.ts";
import { connect } from "./connection.ts";
import type { Learn, McpDocuments } from "./contract.ts";
import { serverEnvironment } from "./environment.ts";
import { KnownTools } from "./known-tools.ts";
import { toolsOf } from "./tools.ts";

export interface ProbeOptions {
  readonly settings: McpServerSettings;
  /** Absolute path. */
  readonly workspace: string;
  readonly log: Log;
  readonly documents: McpDocuments;
  /** The tools count as known from now on. */
  readonly accepts?: boolean;
  readonly fetch?: Fetch;
  readonly learn: Learn;
  readonly signal: AbortSignal;
}

/** What a server answers when it is connected once. */
export type Probed = { readonly ms: number } & (
  | {
      readonly ok: true;
      /** What it calls itself. */
      readonly is: string;
      readonly protocol: string;
      readonly tools: readonly ProbedTool[];
      /** Tools that cannot be used. */
      readonly leftOut: number;
      /** Names of tools that changed, or are new, if they were accepted. */
      readonly changed: readonly string[];
    }
  | { readonly ok: false; readonly why: string }
);

interface ProbedTool {
  /** Its name in profiles. */
  readonly permission: string;
  /** Its name for models. */
  readonly name: string;
  readonly description: string;
}

/** Connects to a server, reads its tools, and ends the connection. Rejects only with the signal's reason. */
export async function probeServer(options: ProbeOptions): Promise<Probed> {
  const { settings, log, signal, fetch = globalThis.fetch } = options;
  const startedAt = performance.now();
  const passed = (): number => Math.round(performance.now() - startedAt);
  try {
    const env = await serverEnvironment(settings, options);
    const tokens = await openTokens(settings, { ...options, fetch });
    const connection = await connect({ settings, env, fetch, tokens, signal });
    try {
      const { tools: listed } = await connection.list(signal);
      const tools = toolsOf(listed, {
        server: { name: settings.name, call: () => Promise.reject(new Error("only listed")) },
        isAmbiguous: false,
        seconds: 0,
        characters: 0,
        holdsSecret: () => false,
        log,
      });
      const { server: is, version: protocol } = connection;
      const changed = options.accepts ? await new KnownTools(options).accept(listed) : [];
      const leftOut = listed.length - tools.length;
      return { ok: true, ms: passed(), is, protocol, tools, leftOut, changed };
    } finally {
      await connection.close();
    }
  } catch (thrown) {
    signal.throwIfAborted();
    return { ok: false, ms: passed(), why: messageOf(thrown) };
  }
}

/** The check of a server for `doctor`. */
export async function serverCheck(options: ProbeOptions): Promise<Check> {
  const { name } = options.settings;
  const probed = await probeServer(options);
  const about = `MCP server ${name}`;
  if (!probed.ok) {
    const remedy = `picoclaw mcp test ${name} tries it again; tools.mcp.servers.${name} says how it is reached`;
    return { name: about, result: "fail", message: `is not connected: ${probed.why}`, remedy };
  }
  const { tools, leftOut, is, protocol } = probed;
  const message = `${is || "it"} offers ${tools.length} tools, by protocol version ${protocol}`;
  if (leftOut === 0) return { name: about, result: "ok", message };
  return {
    name: about,
    result: "warn",
    message: `${message}; ${leftOut} more cannot be used`,
    remedy: `picoclaw mcp test ${name} says which, and why`,
  };
}
