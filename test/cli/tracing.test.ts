import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SILENT } from "../../src/base/log.ts";
import { createRedactor } from "../../src/base/redaction/redactor.ts";
import { openTracing } from "../../src/cli/runtime/tracing.ts";
import type { Request } from "../../src/gateway/contract.ts";
import { TraceExporter } from "../../src/gateway/tracing/exporter.ts";
import { ask } from "../gateway/client.ts";
import { settled } from "../gateway/manual-clock.ts";
import { createTestGateway } from "../gateway/setup.ts";
import { channelFor } from "../support/channel.ts";
import { startCollector } from "../support/collector.ts";
import { createMemoryLog } from "../support/memory-log.ts";
import { until } from "../support/until.ts";

const KEY = "a-key-of-the-configuration";

/** Asks once; the turn calls a model and a tool. */
async function askOnce(
  trace: TraceExporter["record"],
  traceText?: TraceExporter["textOf"],
  facts: Partial<Request> = {},
): Promise<void> {
  const spent = { inputTokens: 10, outputTokens: 5, cost: 0 };
  const { gateway } = createTestGateway(
    async function* ({ allowance }) {
      const times = { startedAt: 1, endedAt: 3 };
      allowance.ended?.({ name: "gpt", provider: "openai", model: "gpt-9", ...times, spent });
      const texts = {
        arguments: '{"command":"secret order"}',
        result: `a key: ${KEY} `.repeat(500),
      };
      allowance.ended?.({ tool: "exec", verdict: "refused", startedAt: 3, endedAt: 4 }, texts);
      yield "secret answer";
      return { messages: [] };
    },
    { trace, traceText },
  );
  const asked = ask("secret question", facts);
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

/** The spans of a turn whose request has this context. */
async function traced(traceparent: string) {
  await using collector = await startCollector(200);
  const tracing = new TraceExporter({ ...OPTIONS, url: collector.base });
  await askOnce(tracing.record, undefined, { extras: { traceparent } });
  await tracing.close();
  return collector.spans();
}

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
    assert.doesNotMatch(body, /secret question|secret answer|secret order|a key/);
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

  it("have texts, redacted and bounded, where the variable of the conventions says so", async () => {
    for (const [value, hasTexts] of [
      ["true", true],
      ["SPAN_ONLY", true],
      ["span_and_event", true],
      ["EVENT_ONLY", false],
      ["NO_CONTENT", false],
      ["1", false],
    ] as const) {
      await using collector = await startCollector(200);
      const redactor = createRedactor();
      redactor.add([KEY]);
      const env = {
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.base,
        OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT: value,
      };
      const tracing = openTracing(env, { channels: [], log: SILENT, redactor }) ?? assert.fail();
      await askOnce(tracing.record, tracing.textOf);
      await tracing.close();
      const texts = new Map(
        collector
          .spans()
          .flatMap(({ attributes }) => attributes)
          .map(({ key, value: held }) => [key, Object.values(held).join("")]),
      );
      const names = [...texts.keys()].filter((name) => /message|tool\.call/.test(name));
      if (!hasTexts) assert.deepEqual(names, [], value);
      if (!hasTexts) continue;
      assert.deepEqual(JSON.parse(texts.get("gen_ai.input.messages") ?? ""), [
        { role: "user", parts: [{ type: "text", content: "secret question" }] },
      ]);
      const parts = [{ type: "text", content: "secret answer" }];
      assert.deepEqual(JSON.parse(texts.get("gen_ai.output.messages") ?? ""), [
        { role: "assistant", parts, finish_reason: "stop" },
      ]);
      assert.equal(texts.get("gen_ai.tool.call.arguments"), '{"command":"secret order"}');
      const result = texts.get("gen_ai.tool.call.result") ?? "";
      assert.match(result, /^a key: \[FILTERED\] a key: /);
      assert.doesNotMatch(result, /of-the/);
      assert.equal(result.length, 2001);
    }
  });

  it("continue the trace of a client that records it, and leave that out which is not recorded", async () => {
    const [trace, span] = ["0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"];
    const [root = assert.fail(), ...calls] = await traced(`00-${trace}-${span}-01`);
    assert.deepEqual([root.traceId, root.parentSpanId], [trace, span]);
    assert.ok(
      calls.every(({ traceId, parentSpanId }) => traceId === trace && parentSpanId !== span),
    );
    assert.equal(calls.length, 2);
    assert.deepEqual(await traced(`00-${trace}-${span}-00`), []);
    const [other = assert.fail()] = await traced(`00-${trace}-0000000000000000-01`);
    assert.notEqual(other.traceId, trace);
    assert.equal(other.parentSpanId, undefined);
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
