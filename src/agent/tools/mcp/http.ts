import type { FetchLike, Transport } from "@modelcontextprotocol/client";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import type { McpServerSettings } from "../../../config/contract.ts";
import type { Fetch } from "../../model/contract.ts";
import { withTokens } from "./auth/token-source.ts";
import type { TokenSource } from "./auth/token-source.ts";
import type { ServerError } from "./server-error.ts";

/** Bytes of one answer, and of one stream of notifications. */
const MAX_BODY = 8 * 2 ** 20;
/** Milliseconds before a stream that the server ended is opened again, at least. */
const LEAST_WAIT_MS = 400;

interface HttpOptions {
  readonly settings: Pick<McpServerSettings, "url" | "headers">;
  readonly fetch: Fetch;
  readonly tokens?: TokenSource | undefined;
}

export interface HttpListeners {
  /** Called when the server sends too much. */
  readonly onFlood: () => void;
  /** Called when there is no token for a request. */
  readonly onNoToken: (error: ServerError) => void;
}

/** The connection to a server of Streamable HTTP. */
export function httpTransport(
  { settings, fetch, tokens }: HttpOptions,
  { onFlood, onNoToken }: HttpListeners,
): Transport {
  const bounded = boundedFetch(fetch, onFlood);
  return new StreamableHTTPClientTransport(new URL(settings.url), {
    fetch: tokens === undefined ? bounded : withTokens(bounded, tokens, onNoToken),
    requestInit: { headers: headersOf(settings) },
    reconnectionScheduler: (reconnect, delay) => {
      const timer = setTimeout(reconnect, Math.max(delay, LEAST_WAIT_MS));
      return () => clearTimeout(timer);
    },
  });
}

/** The headers of the configuration, for the server alone. */
export function headersOf({ headers }: Pick<McpServerSettings, "headers">): Record<string, string> {
  const pairs = Object.entries(headers).map(([name, value]) => [name, value.reveal()] as const);
  return Object.fromEntries(pairs);
}

function boundedFetch(fetch: Fetch, onFlood: () => void): FetchLike {
  return async (address, init) => {
    // Calls have their own limits; a stream of notifications may be silent for hours.
    const response = await fetch(String(address), { ...init, timeout: false });
    const { body, status, statusText, headers } = response;
    if (body === null) return response;
    let bytes = 0;
    const bound = new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        bytes += chunk.length;
        if (bytes <= MAX_BODY) return controller.enqueue(chunk);
        onFlood();
        controller.error(new Error("the server sends too much"));
      },
    });
    // By its signal: Deno no longer ends the body of a response that has been collected.
    const pipe = init?.signal ? { signal: init.signal } : {};
    return new Response(body.pipeThrough(bound, pipe), { status, statusText, headers });
  };
}
