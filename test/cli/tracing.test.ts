import assert from "node:assert/strict";
import type { IncomingHttpHeaders } from "node:http";
import { describe, it } from "node:test";
import * as v from "valibot";
import { SILENT } from "../../src/base/log.ts";
import { createRedactor } from "../../src/base/redaction/redactor.ts";
import { openTracing } from "../../src/cli/runtime/tracing.ts";
import { TraceExporter } from "../../src/gateway/tracing/exporter.ts";
import { ask } from "../gateway/client.ts";
import { settled } from "../gateway/manual-clock.ts";
import { createTestGateway } from "../gateway/setup.ts";
import { channelFor } from "../support/channel.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { until } from "../support/until.ts";
import { openWebServer } from "../support/web-server.ts";

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
async function startCollector(...codes: readonly number[]) {
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

/** Asks once; the turn calls a model and a tool. */
async function askOnce(trace: TraceExporter["record"]): Promise<void> {
  const spent = { inputTokens: 10, outputTokens: 5, cost: 0 };
  const { gateway } = createTestGateway(
    async function* ({ allowance }) {
      const times = { startedAt: 1, endedAt: 3 };
      allowance.ended?.({ name: "gpt", provider: "openai", model: "gpt-9", ...times, spent });
      allowance.ended?.({ tool: "exec", verdict: "refused", startedAt: 3, endedAt: 4 });
      yield "secret answer";
      return { messages: [] };
    },
    { trace },
  );
  const asked = ask("secret question");
  void gateway.accept(asked.request);
  await asked.done;
  await settled();
}

/** Until it is aborted. */
function fetchNothing(_url: string, { signal }: RequestInit): Promise<Response> {
  return new Promise((_resolve, reject) => {
    signal?.addEventListener("abort", () => reject(new Error("aborted")));
  });
}

const OPTIONS = {
  headers: {},
  service: "picoclaw",
  timeoutMs: 5000,
  agents: new Map([["mqtt", "assistant"]]),
  log: SILENT,
  everyMs: 1,
  retryMs: 1,
};

describe("traces of turns", () => {
  it("reach a collector by the schema of OTLP, with headers and without a text", async () => {
    await using collector = await startCollector(200);
    const redactor = createRedactor();
    const env = {
      OTEL_EXPORTER_OTLP_ENDPOINT: `${collector.base}/`,
      OTEL_EXPORTER_OTLP_HEADERS: "x-key=secret%20key, x-other=1",
      OTEL_SERVICE_NAME: "house",
    };
    const channels = [channelFor("tcp://localhost")];
    const tracing = openTracing(env, { channels, log: SILENT, redactor }) ?? assert.fail();
    await askOnce(tracing.record);
    await tracing.close();
    const spans = collector.spans();
    const [root = assert.fail(), ...children] = spans;
    const [{ url, headers, body } = assert.fail()] = collector.heard;
    assert.equal(url, "/v1/traces");
    assert.equal(headers["content-type"], "application/json");
    assert.equal(headers["x-key"], "secret key");
    assert.doesNotMatch(redactor.redact("the secret key"), /secret key/);
    assert.match(body, /"service.name","value":\{"stringValue":"house"/);
    assert.doesNotMatch(body, /secret question|secret answer/);
    assert.match(root.name, /^invoke_agent \w/);
    assert.deepEqual(
      spans.map(({ kind, status }) => [kind, status.code]),
      [
        [1, undefined],
        [3, undefined],
        [1, 2],
      ],
    );
    assert.deepEqual(
      children.map(({ name }) => name),
      ["chat gpt-9", "execute_tool exec"],
    );
    assert.ok(children.every(({ traceId }) => traceId === root.traceId));
    assert.ok(children.every(({ parentSpanId }) => parentSpanId === root.spanId));
  });

  it("are sent again when the collector is busy, and dropped and counted when it refuses", async () => {
    await using busy = await startCollector(503, 429, 200);
    const patient = new TraceExporter({ ...OPTIONS, url: busy.base });
    await askOnce(patient.record);
    await until("it is taken", () => busy.heard.length === 3);
    await patient.close();
    assert.equal(patient.dropped, 0);
    await using closed = await startCollector(401);
    const log = createMemoryLog();
    const refused = new TraceExporter({ ...OPTIONS, url: closed.base, log });
    await askOnce(refused.record);
    await refused.close();
    assert.equal(refused.dropped, 3);
    assert.equal(closed.heard.length, 1);
    assert.match(log.text(), /spans of turns were dropped.*401/s);
  });

  it("hold up no turn and no end of the program when the collector is silent", async () => {
    const silent = { ...OPTIONS, fetch: fetchNothing, lastMs: 20, url: "http://collector" };
    const exporter = new TraceExporter(silent);
    for (let times = 0; times < 3; times += 1) await askOnce(exporter.record);
    await exporter.close();
    assert.ok(exporter.dropped > 0);
  });

  it("are sent where the time of a request is none, and the address has a password", async () => {
    await using collector = await startCollector(200);
    for (const timeout of ["-1", "Infinity", "0.5", "1e12"]) {
      const env = {
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.base,
        OTEL_EXPORTER_OTLP_TIMEOUT: timeout,
      };
      const rest = { channels: [], log: SILENT, redactor: createRedactor() };
      const tracing = openTracing(env, rest) ?? assert.fail();
      await askOnce(tracing.record);
      await tracing.close();
      assert.equal(tracing.dropped, 0, timeout);
    }
    const redactor = createRedactor();
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://ann:pass%20word@localhost:4318" };
    assert.ok(openTracing(env, { channels: [], log: SILENT, redactor }));
    assert.equal(redactor.redact("pass word, pass%20word"), "[FILTERED], [FILTERED]");
  });

  it("are not sent where the variables say so", () => {
    const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://localhost:4318" };
    const rest = { channels: [], log: SILENT, redactor: createRedactor() };
    const isOpen = (env: Record<string, string>): boolean => openTracing(env, rest) !== undefined;
    assert.ok(isOpen(endpoint));
    assert.ok(!isOpen({ ...endpoint, OTEL_SDK_DISABLED: "true" }));
    assert.ok(!isOpen({ ...endpoint, OTEL_TRACES_EXPORTER: "none" }));
    assert.ok(!isOpen({ ...endpoint, OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" }));
    assert.ok(!isOpen({ OTEL_EXPORTER_OTLP_ENDPOINT: "localhost:4317" }));
  });
});
