import type { FetchLike, Transport } from "@modelcontextprotocol/client";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import type { McpServerSettings } from "../../../config/contract.ts";
import type { Fetch } from "../../model/contract.ts";

/** Bytes of one answer, and of one stream of notifications. */
const MAX_BODY = 8 * 2 ** 20;
/** Milliseconds before a stream that the server ended is opened again, at least. */
const LEAST_WAIT_MS = 400;

/** The connection to a server of Streamable HTTP. `onFlood` is called when it sends too much. */
export function httpTransport(
  { url, headers }: Pick<McpServerSettings, "url" | "headers">,
  fetch: Fetch,
  onFlood: () => void,
): Transport {
  const pairs = Object.entries(headers).map(([name, value]) => [name, value.reveal()] as const);
  return new StreamableHTTPClientTransport(new URL(url), {
    fetch: boundedFetch(fetch, onFlood),
    requestInit: { headers: Object.fromEntries(pairs) },
    reconnectionScheduler: (reconnect, delay) => {
      const timer = setTimeout(reconnect, Math.max(delay, LEAST_WAIT_MS));
      return () => clearTimeout(timer);
    },
  });
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
    return new Response(body.pipeThrough(bound), { status, statusText, headers });
  };
}
