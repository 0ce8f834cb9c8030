import { randomBytes } from "node:crypto";
import type { EndedCall, EndedModelCall, EndedToolCall } from "../../base/contract.ts";
import { traceParentOf } from "../../base/trace-context.ts";
import { truncate } from "../../base/truncate.ts";
import { finalOutcome } from "../request-log.ts";
import type { RequestRecord } from "../request-log.ts";

/** A span in the JSON of OTLP (opentelemetry-proto 1.x, ids in hex, 64-bit numbers as texts). */
export interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  /** 1 is internal, 3 is a client. */
  readonly kind: 1 | 3;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly Attribute[];
  /** 2 is an error. */
  readonly status: { readonly code?: 2; readonly message?: string };
}

interface Attribute {
  readonly key: string;
  readonly value: { readonly stringValue: string } | { readonly intValue: string };
}

interface Facts {
  /** The agent id of the request's channel. */
  readonly agent: string;
  /** `performance.now()` of the end, and the milliseconds since the epoch at which it was 0. */
  readonly endedAt: number;
  readonly origin: number;
  /** Redacts and bounds the texts of question and answer; spans have no texts without it. */
  readonly textOf?: ((text: string) => string) | undefined;
}

/**
 * The spans of a turn that has ended, by the conventions for generative AI (semantic-conventions-genai 0.1.0):
 * `invoke_agent`, and below it `chat` and `execute_tool`. None without a turn, and none if the client does not record
 * its own span.
 */
export function spansOf(entry: RequestRecord, facts: Facts): readonly Span[] {
  const { request, acceptedAt, startedAt, outcome, duplicate, calls = [] } = entry;
  const { endedAt, origin } = facts;
  if (startedAt === undefined || duplicate !== undefined || outcome === "resumable") return [];
  const parent = traceParentOf(request.extras?.traceparent ?? "");
  if (parent?.isSampled === false) return [];
  const traceId = parent?.traceId ?? randomBytes(16).toString("hex");
  const at = (ms: number): string => String(BigInt(Math.round((origin + ms) * 1000)) * 1000n);
  const root: Span = {
    traceId,
    spanId: newSpanId(),
    ...(parent && { parentSpanId: parent.spanId }),
    startTimeUnixNano: at(acceptedAt),
    endTimeUnixNano: at(endedAt),
    ...agentSpan(entry, facts),
  };
  const ofCall = (call: EndedCall): Span => ({
    traceId,
    spanId: newSpanId(),
    parentSpanId: root.spanId,
    startTimeUnixNano: at(call.startedAt),
    endTimeUnixNano: at(call.endedAt),
    ...("tool" in call ? toolSpan(call) : modelSpan(call)),
  });
  return [root, ...calls.map(ofCall)];
}

/** A span without its place in the trace and its times. */
type Described = Pick<Span, "name" | "kind" | "attributes" | "status">;

function agentSpan(entry: RequestRecord, { agent, textOf }: Facts): Described {
  const { request, usage, failure, delivery } = entry;
  const outcome = finalOutcome(entry);
  const isFailed = outcome !== "ok";
  return {
    name: `invoke_agent ${agent}`,
    kind: 1,
    attributes: attributesOf({
      "gen_ai.operation.name": "invoke_agent",
      "gen_ai.agent.name": agent,
      "gen_ai.conversation.id": truncate(`${request.channel}/${request.client}`, 200),
      "gen_ai.usage.input_tokens": usage?.inputTokens,
      "gen_ai.usage.output_tokens": usage?.outputTokens,
      "error.type": isFailed ? outcome : undefined,
      ...(textOf && messagesOf(entry, textOf)),
    }),
    status: isFailed
      ? { code: 2, message: (failure ?? delivery?.failure)?.message ?? outcome }
      : {},
  };
}

function modelSpan({ provider, model, spent, error }: EndedModelCall): Described {
  return {
    name: `chat ${model}`,
    kind: 3,
    attributes: attributesOf({
      "gen_ai.operation.name": "chat",
      "gen_ai.provider.name": provider,
      "gen_ai.request.model": model,
      "gen_ai.usage.input_tokens": spent.inputTokens,
      "gen_ai.usage.output_tokens": spent.outputTokens,
      "error.type": error,
    }),
    status: error === undefined ? {} : { code: 2, message: error },
  };
}

/** Question and answer, in the JSON that the conventions have for messages. */
function messagesOf({ request, answer }: RequestRecord, textOf: (text: string) => string) {
  const message = (role: string, text: string): object => ({
    role,
    parts: [{ type: "text", content: textOf(text) }],
  });
  const finish_reason = answer?.failure === undefined ? "stop" : "error";
  return {
    "gen_ai.input.messages": JSON.stringify([message("user", request.text)]),
    "gen_ai.output.messages":
      answer && JSON.stringify([{ ...message("assistant", answer.text), finish_reason }]),
  };
}

function toolSpan({ tool, verdict, texts }: EndedToolCall): Described {
  const isFailed = verdict !== "ok";
  return {
    name: `execute_tool ${tool}`,
    kind: 1,
    attributes: attributesOf({
      "gen_ai.operation.name": "execute_tool",
      "gen_ai.tool.name": tool,
      "gen_ai.tool.call.arguments": texts?.arguments,
      "gen_ai.tool.call.result": texts?.result,
      "error.type": isFailed ? verdict : undefined,
    }),
    status: isFailed ? { code: 2, message: verdict } : {},
  };
}

function attributesOf(values: Readonly<Record<string, string | number | undefined>>): Attribute[] {
  return Object.entries(values).flatMap(([key, value]): Attribute[] => {
    if (value === undefined) return [];
    if (typeof value === "string") return [{ key, value: { stringValue: value } }];
    return [{ key, value: { intValue: String(Math.round(value)) } }];
  });
}

function newSpanId(): string {
  return randomBytes(8).toString("hex");
}
