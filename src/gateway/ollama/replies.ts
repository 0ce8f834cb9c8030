import type { ServerResponse } from "node:http";
import type { Failure, FailureCode } from "../../base/failure.ts";

const STATUS: Partial<Record<FailureCode, number>> = {
  bad_request: 400,
  forbidden: 403,
  unserved: 404,
  too_large: 413,
  rate_limited: 429,
  budget: 429,
  model: 502,
  busy: 503,
  cancelled: 503,
  expired: 504,
  timeout: 504,
};

/** The only shape of an error that clients of Ollama read. */
export function failureReply(response: ServerResponse, failure: Failure): void {
  const { code, message, retryAfter } = failure;
  if (retryAfter !== undefined) response.setHeader("retry-after", Math.ceil(retryAfter));
  sendJson(response, STATUS[code] ?? 500, { error: message });
}

export function sendJson(response: ServerResponse, status: number, body: object): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    "content-type": "application/json; charset=utf-8",
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-store",
    // The rest of a body that was not read must not be taken for a request.
    ...(status >= 400 && { connection: "close" }),
  });
  response.end(response.req.method === "HEAD" ? undefined : text);
}
