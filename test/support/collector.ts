import type { IncomingHttpHeaders } from "node:http";
import * as v from "valibot";
import { openWebServer } from "./web-server.ts";

/** ExportTraceServiceRequest of opentelemetry-proto in its JSON form; no further key is allowed. */
const ATTRIBUTES = v.array(
  v.strictObject({
    key: v.pipe(v.string(), v.nonEmpty()),
    value: v.union([
      v.strictObject({ stringValue: v.string() }),
      v.strictObject({ intValue: v.pipe(v.string(), v.regex(/^\d+$/)) }),
    ]),
  }),
);
const NANOS = v.pipe(v.string(), v.regex(/^\d{19}$/));
const SPAN = v.strictObject({
  traceId: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/)),
  spanId: v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/)),
  parentSpanId: v.optional(v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/))),
  name: v.pipe(v.string(), v.nonEmpty()),
  kind: v.picklist([1, 3]),
  startTimeUnixNano: NANOS,
  endTimeUnixNano: NANOS,
  attributes: ATTRIBUTES,
  status: v.strictObject({ code: v.optional(v.literal(2)), message: v.optional(v.string()) }),
});
const SCOPE = v.strictObject({ name: v.string(), version: v.string() });
const EXPORT = v.strictObject({
  resourceSpans: v.array(
    v.strictObject({
      resource: v.strictObject({ attributes: ATTRIBUTES }),
      scopeSpans: v.array(v.strictObject({ scope: SCOPE, spans: v.array(SPAN) })),
    }),
  ),
});

/** A collector that answers with these codes in turn, the last one for ever. */
export async function startCollector(...codes: readonly number[]) {
  const heard: { url: string; headers: IncomingHttpHeaders; body: string }[] = [];
  const server = await openWebServer((request, response, body) => {
    const code = codes[Math.min(heard.length, codes.length - 1)] ?? 200;
    heard.push({ url: request.url ?? "", headers: request.headers, body });
    response.writeHead(code, { "content-type": "application/json" }).end("{}");
  });
  return {
    ...server,
    heard,
    spans: () =>
      heard.flatMap(({ body }) =>
        v
          .parse(EXPORT, JSON.parse(body))
          .resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans)),
      ),
  };
}
