import type { IncomingMessage, ServerResponse } from "node:http";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { PageFile } from "./files.ts";

export const HTML = "text/html; charset=utf-8";

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

interface Body {
  readonly type: string;
  readonly zipped: () => Buffer | Promise<Buffer>;
  readonly plain: () => Buffer | Promise<Buffer>;
}

const zip = promisify(gzip);

/** A text that no browser keeps. */
export async function send(
  exchange: Exchange,
  status: number,
  { type, text }: { readonly type: string; readonly text: string },
): Promise<void> {
  exchange.response.setHeader("cache-control", "no-store");
  const body = { type, zipped: () => zip(text), plain: () => Buffer.from(text) };
  await sendBody(exchange, status, body);
}

/** A browser keeps it, and asks each time whether it is still the same. */
export async function sendFile(
  { request, response }: Exchange,
  { type, zipped, tag, plain }: PageFile,
): Promise<void> {
  response.setHeader("etag", tag);
  response.setHeader("cache-control", "no-cache");
  if (request.headers["if-none-match"] === tag) {
    response.writeHead(304).end();
    return;
  }
  await sendBody({ request, response }, 200, { type, zipped: () => zipped, plain });
}

async function sendBody(
  { request, response }: Exchange,
  status: number,
  { type, zipped, plain }: Body,
): Promise<void> {
  const isZipped = /\bgzip\b/.test(request.headers["accept-encoding"] ?? "");
  const body = await (isZipped ? zipped() : plain());
  response.writeHead(status, {
    "content-type": type,
    "content-length": body.length,
    ...(isZipped && { "content-encoding": "gzip" }),
  });
  response.end(request.method === "HEAD" ? undefined : body);
}

/** Short enough that it is not worth to compress it. */
export function sendText(response: ServerResponse, status: number, text: string): void {
  const body = `${text}\n`;
  response.writeHead(status, {
    "content-type": "text/plain; charset=utf-8",
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
  });
  response.end(body);
}

export function redirect(response: ServerResponse, location: string): void {
  response.writeHead(303, { location, "cache-control": "no-store", "content-length": 0 }).end();
}
