import { crc32 } from "node:zlib";
import { at, listAt, textAt } from "../../src/base/unknown.ts";
import { piecesOf } from "./dialects.ts";
import type { HeardMessage, ScriptedAnswer, TestDialect } from "./dialects.ts";

const SIGNATURE = "signed-by-bedrock";
const REASONS = { stop: "end_turn", length: "max_tokens", filter: "guardrail_intervened" };
const USAGE = { inputTokens: 4, outputTokens: 3, totalTokens: 14 };
const CACHED = { ...USAGE, cacheReadInputTokens: 5, cacheWriteInputTokens: 2 };

/** ConverseStream, as Bedrock streams it, with an API key. */
export const BEDROCK: TestDialect = {
  name: "bedrock",
  entry: { model: "bedrock/anthropic.claude-test-4-v1:0" },
  path: "/v1/model/anthropic.claude-test-4-v1%3A0/converse-stream",
  keyOf: ({ authorization }) => authorization?.replace("Bearer ", ""),
  signs: true,
  marksEnd: true,
  usage: { inputTokens: 11, outputTokens: 3, cachedTokens: 5, cacheWriteTokens: 2 },
  binary: "application/vnd.amazon.eventstream",
  events: converseEvents,
  whole: (answer) => ({
    metrics: { latencyMs: 7 },
    output: { message: { role: "assistant", content: blocksOf(answer).map(({ block }) => block) } },
    stopReason: reasonOf(answer),
    usage: CACHED,
  }),
  error: (status, message) => ({ __type: NAMES[status] ?? "InternalServerException", message }),
  errorEvent: eventMessage("serviceUnavailableException", { message: "overloaded" }, "exception"),
  overflow: { status: 400, message: "Input is too long for requested model." },
  systemOf: ({ body }) => textAt(listAt(body, "system")[0], "text"),
  heard: ({ body }) => listAt(body, "messages").flatMap(heardIn),
};

const NAMES: Readonly<Record<number, string>> = {
  400: "ValidationException",
  401: "UnrecognizedClientException",
  403: "AccessDeniedException",
  404: "ResourceNotFoundException",
  408: "ModelTimeoutException",
  429: "ThrottlingException",
  529: "ServiceUnavailableException",
};

/** One message of an event stream; each character of the text is a byte. */
export function eventMessage(name: string, payload: unknown, type = "event"): string {
  const named = { [`:${type}-type`]: name, ":content-type": "application/json" };
  const headers = Object.entries({ ...named, ":message-type": type }).map(headerBytes);
  const headerLength = Buffer.concat(headers).length;
  const body = Buffer.from(JSON.stringify(payload));
  const prelude = Buffer.alloc(8);
  prelude.writeUInt32BE(16 + headerLength + body.length, 0);
  prelude.writeUInt32BE(headerLength, 4);
  const checked = Buffer.concat([prelude, sumOf(prelude), ...headers, body]);
  return Buffer.concat([checked, sumOf(checked)]).toString("latin1");
}

function headerBytes([name, value]: readonly [string, string]): Buffer {
  const text = Buffer.from(value);
  const head = Buffer.from([name.length, ...Buffer.from(name), 7, text.length >> 8, text.length]);
  return Buffer.concat([head, text]);
}

function sumOf(bytes: Buffer): Buffer {
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(bytes), 0);
  return sum;
}

function converseEvents(answer: ScriptedAnswer): string[] {
  const events: [string, unknown][] = [
    ["messageStart", { role: "assistant", p: "abcdefgh" }],
    ...blocksOf(answer).flatMap(blockEvents),
  ];
  if (answer.finish !== null) {
    events.push(
      ["messageStop", { stopReason: reasonOf(answer), p: "abc" }],
      ["metadata", { metrics: { latencyMs: 7 }, usage: CACHED, p: "abcdef" }],
    );
  }
  const other = answer.comments === true ? eventMessage("somethingNew", { p: "a" }) : "";
  return events.map(([name, payload]) => other + eventMessage(name, payload));
}

function blockEvents({ start, deltas }: SentBlock, contentBlockIndex: number): [string, unknown][] {
  return [
    ...(start === undefined
      ? []
      : [["contentBlockStart", { contentBlockIndex, start }] satisfies [string, unknown]]),
    ...deltas.map((delta): [string, unknown] => [
      "contentBlockDelta",
      { contentBlockIndex, delta, p: "abcdefghijk" },
    ]),
    ["contentBlockStop", { contentBlockIndex, p: "abcd" }],
  ];
}

function reasonOf({ finish = "stop", toolCalls = [] }: ScriptedAnswer): string | null {
  if (finish === "stop" && toolCalls.length > 0) return "tool_use";
  return finish === null ? null : REASONS[finish];
}

interface SentBlock {
  readonly block: unknown;
  /** Blocks of text and of reasoning have none. */
  readonly start?: unknown;
  readonly deltas: readonly unknown[];
}

function blocksOf(answer: ScriptedAnswer): SentBlock[] {
  const { thought, toolCalls = [] } = answer;
  const pieces = piecesOf(answer);
  return [
    ...(thought === undefined ? [] : [reasoningBlock(thought)]),
    ...(pieces.length === 0
      ? []
      : [{ block: { text: pieces.join("") }, deltas: pieces.map((text) => ({ text })) }]),
    ...toolCalls.map(({ id, name, arguments: words }, index) => {
      const toolUse = { toolUseId: id ?? `tooluse_${index}`, name };
      return {
        block: { toolUse: { ...toolUse, input: JSON.parse(words || "{}") } },
        start: { toolUse },
        deltas: ["", ...(words.match(/[^]{1,5}/g) ?? [])].map((input) => ({ toolUse: { input } })),
      };
    }),
  ];
}

function reasoningBlock(text: string): SentBlock {
  const words = text.split(/(?<=\s)/);
  return {
    block: { reasoningContent: { reasoningText: { text, signature: SIGNATURE } } },
    deltas: [...words.map((word) => ({ text: word })), { signature: SIGNATURE }].map(
      (reasoningContent) => ({ reasoningContent }),
    ),
  };
}

function heardIn(turn: unknown): HeardMessage[] {
  const blocks = listAt(turn, "content");
  const text = blocks.map((block) => textAt(block, "text")).filter((words) => words !== "");
  if (textAt(turn, "role") === "user") {
    const results = blocks
      .map((block) => at(block, "toolResult"))
      .filter((result) => result !== undefined);
    return [
      ...results.map((result): HeardMessage => {
        return { role: "tool", text: textAt(listAt(result, "content")[0], "text") };
      }),
      ...text.map((words): HeardMessage => ({ role: "user", text: words })),
    ];
  }
  const calls = blocks
    .map((block) => at(block, "toolUse"))
    .filter((call) => call !== undefined)
    .map((call) => ({ name: textAt(call, "name"), arguments: at(call, "input") }));
  const reasoning = at(at(blocks[0], "reasoningContent"), "reasoningText");
  const signed = textAt(reasoning, "signature") === SIGNATURE;
  return [
    {
      role: "assistant",
      ...(text.length === 0 ? {} : { text: text.join("") }),
      ...(calls.length === 0 ? {} : { calls }),
      ...(signed ? { signed } : {}),
    },
  ];
}
