import type { ServerResponse } from "node:http";
import type { GatewayStatus } from "../statistics/contract.ts";

/** Browsers that hear of changes at once; further ones ask by themselves. */
const READERS = 8;
const INTERVAL_MS = 2000;
/** How soon a browser connects again after a loss. */
const RETRY_MS = 1000;
/** So long browsers are told of the same status: to make one takes time. */
const FRESH_MS = 1000;
/** Then the browser connects again, and shows its cookie again. */
const LONGEST_MS = 30 * 60_000;

/** Sends the status to browsers whenever it has changed, as server-sent events. */
export interface Events {
  /** `view` is what this browser may see of the status. */
  readonly open: (response: ServerResponse, view: (status: GatewayStatus) => GatewayStatus) => void;
}

export function createEvents(
  status: () => Promise<GatewayStatus>,
  now = (): number => performance.now(),
): Events {
  let readers = 0;
  const latest = createMemory(status, now);
  return {
    open(response, view) {
      // The browser left meanwhile: nothing would say so again.
      if (response.destroyed) return;
      if (readers >= READERS) {
        response.writeHead(503, { "retry-after": "60", "content-length": 0 }).end();
        return;
      }
      readers += 1;
      response.writeHead(200, {
        "content-type": "text/event-stream",
        "cache-control": "no-store, no-transform",
        // For nginx, which would hold it back.
        "x-accel-buffering": "no",
        connection: "close",
      });
      const end = sendChanges(response, async () => view(await latest()));
      const over = setTimeout(() => response.end(), LONGEST_MS);
      response.on("close", () => {
        readers -= 1;
        clearTimeout(over);
        end();
      });
    },
  };
}

/** All that ask within a second get the same one. */
function createMemory(
  status: () => Promise<GatewayStatus>,
  now: () => number,
): () => Promise<GatewayStatus> {
  let last: Promise<GatewayStatus> | undefined;
  let askedAt = 0;
  return () => {
    if (last !== undefined && now() - askedAt < FRESH_MS) return last;
    askedAt = now();
    last = status();
    return last;
  };
}

/** The first one at once. A word comes also without a change, so that the other side knows of the connection. */
function sendChanges(response: ServerResponse, status: () => Promise<GatewayStatus>): () => void {
  let sent = "";
  const send = async (): Promise<void> => {
    // The reader is slow: it gets a later one, or has yet to take the last one.
    if (response.writableEnded || response.writableNeedDrain) return;
    const now = await status();
    if (response.writableEnded) return;
    const { uptime_s: _uptime, memory: _memory, ...rest } = now;
    const state = JSON.stringify(rest);
    const retry = sent === "" ? `retry: ${RETRY_MS}\n` : "";
    response.write(
      state === sent
        ? "event: same\ndata:\n\n"
        : `${retry}event: status\ndata: ${JSON.stringify(now)}\n\n`,
    );
    sent = state;
  };
  const sendOrEnd = (): void => void send().catch(() => response.end());
  sendOrEnd();
  const timer = setInterval(sendOrEnd, INTERVAL_MS);
  return () => clearInterval(timer);
}
