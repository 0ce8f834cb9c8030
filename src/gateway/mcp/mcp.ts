import type { IncomingMessage, ServerResponse } from "node:http";
import { createMcpHandler } from "@modelcontextprotocol/server";
import { asFailure, Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { ClientAccess } from "../http/client-access.ts";
import { createOpenRequests } from "../http/open-requests.ts";
import { readBody } from "../http/read-json.ts";
import { createMcpServer } from "./server.ts";
import type { McpServerOptions } from "./server.ts";
import { sendResponse } from "./web-response.ts";

export interface McpOptions extends McpServerOptions {
  readonly accessOf: (request: IncomingMessage) => ClientAccess;
  readonly log: Log;
}

/** A server of the Model Context Protocol over Streamable HTTP, without sessions. */
export interface Mcp {
  /** Does not reject. */
  readonly serve: (request: IncomingMessage, response: ServerResponse) => Promise<void>;
}

const MOST_BYTES = 2 ** 20;
const MOST_SUBSCRIPTIONS = 4;

export function createMcp(options: McpOptions): Mcp {
  const { accessOf, log } = options;
  const begin = createOpenRequests();
  const handler = createMcpHandler(
    ({ authInfo, requestInfo }) => {
      const gone = requestInfo?.signal ?? new AbortController().signal;
      return createMcpServer(options, { client: authInfo?.clientId ?? "", gone });
    },
    {
      maxRequestBodySize: MOST_BYTES,
      maxSubscriptions: MOST_SUBSCRIPTIONS,
      onerror: ({ message }) => log.debug("an MCP request failed", { why: message }),
    },
  );
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const access = accessOf(request);
    if ("status" in access) {
      if (access.status === 401) response.setHeader("www-authenticate", "Bearer");
      return refuse(response, access.status, access.message);
    }
    const end = begin(access.client);
    if (end === undefined) return refuse(response, 503, "too many requests are open");
    try {
      const left = new AbortController();
      response.on("close", () => left.abort());
      const authInfo = { token: "", clientId: access.client, scopes: [] };
      const asked = await webRequest(request, left.signal);
      // An answer of the agent may take longer than a connection may be silent.
      response.socket?.setTimeout(0);
      await sendResponse(await handler.fetch(asked, { authInfo }), response);
    } finally {
      end();
    }
  };
  return {
    async serve(request, response) {
      try {
        await answer(request, response);
      } catch (thrown) {
        // The client left: nobody is there to hear of it.
        if (response.destroyed) return;
        const failure = asFailure(thrown);
        if (failure.code === "internal") log.warn("an MCP request failed", { why: failure.why });
        if (response.headersSent) response.destroy();
        else refuse(response, failure.code === "too_large" ? 413 : 500, failure.message);
      }
    },
  };
}

async function webRequest(request: IncomingMessage, signal: AbortSignal): Promise<Request> {
  const { method = "GET", url = "/", headers: given } = request;
  if (!URL.canParse(url, BASE)) throw new Failure("bad_request", "the address is none");
  const headers = new Headers();
  for (const [name, value] of Object.entries(given)) {
    if (value !== undefined) headers.set(name, String(value));
  }
  const hasBody = method !== "GET" && method !== "HEAD";
  const body = hasBody ? new Uint8Array(await readBody(request, MOST_BYTES)) : null;
  return new Request(new URL(url, BASE).href, { method, headers, body, signal });
}

const BASE = "http://gateway";

/** An error of JSON-RPC that belongs to no request. */
function refuse(response: ServerResponse, status: number, message: string): void {
  const text = JSON.stringify({ jsonrpc: "2.0", error: { code: -32_000, message }, id: null });
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
    connection: "close",
  });
  response.end(text);
}
