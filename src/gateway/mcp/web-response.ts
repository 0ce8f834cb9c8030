import type { ServerResponse } from "node:http";
import { writeDrained } from "../http/drained.ts";

/** Sends a response of the Fetch standard, chunk by chunk; ends its body when the client leaves. */
export async function sendResponse(from: Response, to: ServerResponse): Promise<void> {
  const headers = Object.fromEntries(from.headers);
  to.writeHead(from.status, { ...headers, "cache-control": "no-store, no-transform" });
  if (from.body === null) {
    to.end();
    return;
  }
  to.flushHeaders();
  const reader = from.body.getReader();
  to.on("close", () => void reader.cancel().catch(() => {}));
  for (;;) {
    const { done, value } = await reader.read();
    if (done || to.destroyed) break;
    await writeDrained(to, value);
  }
  to.end();
}
