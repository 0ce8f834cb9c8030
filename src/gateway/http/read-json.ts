import type { IncomingMessage } from "node:http";
import { Failure } from "../../base/failure.ts";
import { fromJson } from "../../base/unknown.ts";

/** The JSON of a body, whatever its content type. Rejects with `too_large` or `bad_request`. */
export async function readJson(request: IncomingMessage, mostBytes: number): Promise<unknown> {
  const body = await readBody(request, mostBytes);
  try {
    return fromJson(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    throw new Failure("bad_request", "the body of the request is not JSON");
  }
}

/** The bytes of a body. Rejects with `too_large`. */
export async function readBody(request: IncomingMessage, mostBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > mostBytes) {
      throw new Failure("too_large", `the request is larger than ${mostBytes} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
