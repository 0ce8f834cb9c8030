import type { IncomingMessage, ServerResponse } from "node:http";
import { asFailure, Failure } from "../../base/failure.ts";
import type { MqttChannel } from "../../config/contract.ts";
import { gatewayPage } from "../page/page.ts";
import type { PageSubject } from "../page/sources.ts";
import type { HttpSubject } from "./clients.ts";

export interface OtherPathsOptions extends PageSubject, HttpSubject {
  readonly runtime: PageSubject["runtime"] & HttpSubject["runtime"];
}

type Handler = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

/**
 * What the gateway's port answers besides `/health` and its like: protocols of programs, as far as they are enabled,
 * and the page. Nothing of them is loaded before the first request. Throws a `Failure` if the settings of one are wrong.
 */
export function otherPaths(options: OtherPathsOptions): Handler | undefined {
  const page = gatewayPage(options);
  const { ollama, mcp } = options.loaded.config.gateway;
  if (page === undefined && !ollama.enabled && !mcp.enabled) return undefined;
  const api = ollama.enabled ? ollamaApi(options) : undefined;
  const mcpServer = mcp.enabled ? mcpOver(options) : undefined;
  return (request, response) => {
    const { url = "" } = request;
    if (url.startsWith("/api/")) return (api ?? switchedOff("ollama"))(request, response);
    if (/^\/mcp(?:\?|$)/.test(url)) return (mcpServer ?? switchedOff("mcp"))(request, response);
    return (page ?? notFound)(request, response);
  };
}

function ollamaApi(options: OtherPathsOptions): Handler {
  const channel = channelOf("ollama", options);
  return once(options, async () => {
    const { openOllama } = await import("./ollama.ts");
    return openOllama(options, channel);
  });
}

function mcpOver(options: OtherPathsOptions): Handler {
  const channel = channelOf("mcp", options);
  return once(options, async () => {
    const { openMcp } = await import("./mcp.ts");
    return openMcp(options, channel);
  });
}

/** The channel whose clients ask there. */
function channelOf(face: "ollama" | "mcp", { loaded: { config } }: OtherPathsOptions): MqttChannel {
  const { channel: name } = config.gateway[face];
  const [first] = config.channels;
  const found = name === "" ? first : config.channels.find((channel) => channel.name === name);
  if (found !== undefined) return found;
  const names = config.channels.map((channel) => channel.name).join(", ");
  throw new Failure("config", `there is no enabled channel ${JSON.stringify(name)}`, {
    why: `gateway.${face}.channel names it`,
    remedy: `set gateway.${face}.channel to one of: ${names}`,
  });
}

/** Opens the handler at the first request, and again after a failure. */
function once({ log }: OtherPathsOptions, open: () => Promise<Handler>): Handler {
  let opened: Promise<Handler> | undefined;
  return async (request, response) => {
    try {
      opened ??= open();
      await (
        await opened
      )(request, response);
    } catch (thrown) {
      opened = undefined;
      log.error("an HTTP request failed", { why: asFailure(thrown).message });
      if (response.headersSent) response.destroy();
      else response.writeHead(500, { "content-length": 0 }).end();
    }
  };
}

function switchedOff(face: "ollama" | "mcp"): Handler {
  const error = `not enabled: set gateway.${face}.enabled to true, and start the gateway again`;
  return async (request, response) => {
    request.resume();
    response.writeHead(404, { "content-type": "application/json" }).end(JSON.stringify({ error }));
  };
}

async function notFound(_request: IncomingMessage, response: ServerResponse): Promise<void> {
  response.writeHead(404, { "content-length": 0 }).end();
}
