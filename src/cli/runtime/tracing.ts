import { MAX_TIMER_MS } from "../../base/async.ts";
import type { Host } from "../../base/host.ts";
import type { Log } from "../../base/log.ts";
import type { Redactor } from "../../base/redaction/redactor.ts";
import { truncate } from "../../base/truncate.ts";
import { decodeUrlPart } from "../../base/url.ts";
import type { MqttChannel } from "../../config/contract.ts";
import { urlSecrets } from "../../config/secrets.ts";
import { TraceExporter } from "../../gateway/tracing/exporter.ts";

interface Surroundings {
  readonly channels: readonly MqttChannel[];
  readonly log: Log;
  /** Learns the values of the headers, which hold keys, and a password in the address. */
  readonly redactor: Pick<Redactor, "add" | "redact">;
}

const TIMEOUT_MS = 10_000;
/** The values with which spans have texts. */
const CAPTURES = /^(?:true|span_only|span_and_event)$/i;
/** UTF-16 units of a text in a span. */
const TEXT = 2000;

/**
 * The exporter that OpenTelemetry's environment variables ask for; undefined if they do not, or ask for what there is
 * not.
 */
export function openTracing(
  env: Host["env"],
  { channels, log, redactor }: Surroundings,
): TraceExporter | undefined {
  const asked = (name: string): string => (env[`OTEL_${name}`] ?? "").trim();
  const either = (name: string): string =>
    asked(`EXPORTER_OTLP_TRACES_${name}`) || asked(`EXPORTER_OTLP_${name}`);
  const exporter = asked("TRACES_EXPORTER") || "otlp";
  if (asked("SDK_DISABLED").toLowerCase() === "true" || exporter !== "otlp") return undefined;
  const url = urlOf(asked("EXPORTER_OTLP_TRACES_ENDPOINT"), asked("EXPORTER_OTLP_ENDPOINT"));
  if (url === undefined || either("PROTOCOL") === "grpc") {
    log.warn("traces are not sent: OTLP over HTTP alone is supported", {
      try: "set OTEL_EXPORTER_OTLP_ENDPOINT to http://localhost:4318, and OTEL_EXPORTER_OTLP_PROTOCOL to http/json",
    });
    return undefined;
  }
  const headers = headersIn(either("HEADERS"));
  redactor.add([...Object.values(headers), ...urlSecrets(url)]);
  return new TraceExporter({
    url,
    log,
    headers,
    service: asked("SERVICE_NAME") || "picoclaw",
    timeoutMs: timeoutOf(either("TIMEOUT")),
    agents: new Map(channels.map(({ name, settings }) => [name, settings.agent_id])),
    ...(CAPTURES.test(asked("INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT")) && {
      textOf: (text: string) => copyOf(truncate(redactor.redact(text), TEXT)),
    }),
  });
}

/** A part of a text holds the whole, which may be large. */
function copyOf(text: string): string {
  return Buffer.from(text, "utf16le").toString("utf16le");
}

/** Of traces as it is; the common one gets the path of traces. Undefined if it is not HTTP. */
function urlOf(traces: string, common: string): string | undefined {
  const text = traces || `${common.replace(/\/+$/, "")}/v1/traces`;
  return /^https?:\/\//i.test(text) && URL.canParse(text) ? text : undefined;
}

/** Milliseconds; the default in place of what a timer cannot wait. */
function timeoutOf(text: string): number {
  const milliseconds = Number(text);
  const isPossible =
    Number.isInteger(milliseconds) && milliseconds > 0 && milliseconds <= MAX_TIMER_MS;
  return isPossible ? milliseconds : TIMEOUT_MS;
}

/** `key=value,key2=value2`, percent-encoded. */
function headersIn(text: string): Record<string, string> {
  const pairs = text.split(",").flatMap((pair): (readonly [string, string])[] => {
    const at = pair.indexOf("=");
    return at < 1 ? [] : [[pair.slice(0, at).trim(), decodeUrlPart(pair.slice(at + 1).trim())]];
  });
  return Object.fromEntries(pairs);
}
