import assert from "node:assert/strict";
import type { Reply } from "../../../src/agent/model/contract.ts";
import { Failure } from "../../../src/base/failure.ts";
import { agentDefaults, collect, questionOf } from "../../support/agent-config.ts";
import { ANTHROPIC } from "../../support/anthropic-server.ts";
import { CHAT } from "../../support/chat-dialect.ts";
import type { TestDialect } from "../../support/dialects.ts";
import { GEMINI } from "../../support/gemini-server.ts";
import { startModelServer } from "../../support/model-server.ts";
import type { Behaviour } from "../../support/model-server.ts";
import { openModel } from "../../support/model.ts";
import { RESPONSES } from "../../support/responses-server.ts";
import { headAndBody, kindOf, sizeOf } from "../target.ts";
import type { Target, Trial } from "../target.ts";

const DIALECTS: Readonly<Record<string, TestDialect>> = {
  chat: CHAT,
  anthropic: ANTHROPIC,
  gemini: GEMINI,
  responses: RESPONSES,
};
const KEY = "sk-fuzz-key-0123456789";
type Collected = Awaited<ReturnType<typeof collect<Reply>>>;
/** Seconds without a byte. */
const SILENCE = 0.15;

/** `chat 200 event-stream cut=7 end`: whose answer it is, its status, its type, its pieces, its end. */
interface Head {
  readonly dialect: TestDialect;
  readonly status: number;
  readonly type: string;
  readonly cut: number;
  readonly end: "end" | "hang" | "reset";
}

function headOf(line: string): Head {
  const words = line.split(/\s+/);
  const status = Number(words.find((word) => /^[2-5]\d\d$/.test(word)) ?? 200);
  const cut = Number(/cut=(\d{1,4})/.exec(line)?.[1] ?? 0);
  return {
    dialect: DIALECTS[words[0] ?? ""] ?? CHAT,
    status: status === 204 || status === 304 ? 200 : status,
    type: line.includes("json") ? "application/json" : "text/event-stream",
    cut: cut === 0 ? Number.POSITIVE_INFINITY : cut,
    end: words.includes("hang") ? "hang" : words.includes("reset") ? "reset" : "end",
  };
}

function sends({ status, type, cut, end }: Head, body: Uint8Array): Behaviour {
  return async (_, response) => {
    response.writeHead(status, { "content-type": type });
    response.flushHeaders();
    // Never more than a hundred pieces, whatever the cut.
    const size = Math.max(cut, Math.ceil(body.length / 100), 1);
    for (let at = 0; at < body.length; at += size) {
      response.write(body.subarray(at, at + size));
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (end === "end") response.end();
    else if (end === "reset") response.socket?.destroy();
  };
}

async function open(): Promise<Trial> {
  const server = await startModelServer();
  const defaults = agentDefaults({ max_llm_retries: 0 });
  return {
    async run(input) {
      const [line, body] = headAndBody(input);
      const head = headOf(line);
      server.otherwise(sends(head, body));
      const entry = {
        api_base: server.base,
        request_timeout: SILENCE,
        ...head.dialect.entry,
        api_keys: [KEY],
      };
      const model = openModel({ entry, defaults });
      try {
        return `${head.dialect.name} ${replyOf(await collect(model(questionOf())))}`;
      } catch (thrown) {
        assert.ok(thrown instanceof Failure, `it threw ${String(thrown)}`);
        return `${head.dialect.name} ${failureOf(thrown)}`;
      }
    },
    close: () => server.close(),
  };
}

function replyOf({ pieces, text, result: reply }: Collected): string {
  assert.ok(
    pieces.every((piece) => piece !== ""),
    "an empty piece",
  );
  assert.equal(text, reply.text, "the pieces are not the text");
  const ids = reply.toolCalls.map(({ id }) => id);
  assert.deepEqual([...new Set(ids)], ids, "two calls have one id");
  for (const { id, name, arguments: words } of reply.toolCalls) {
    assert.ok(typeof id === "string" && id !== "" && typeof name === "string" && name !== "");
    assert.equal(typeof words, "string");
  }
  const { inputTokens = 0, outputTokens = 0 } = reply.usage ?? {};
  for (const tokens of [inputTokens, outputTokens]) {
    assert.ok(Number.isSafeInteger(tokens) && tokens >= 0, `${tokens} tokens`);
  }
  return `reply ${sizeOf(text.length)} ${Math.min(3, reply.toolCalls.length)} ${reply.truncated} ${reply.usage === undefined} ${reply.reasoning === undefined}`;
}

/** The sentence is one of our own; a provider's words, cleaned, are the operator's alone. */
function failureOf(failure: Failure): string {
  assert.equal(failure.code, "model", `${failure.code}: ${failure.why}`);
  assert.match(failure.message, /^the model[\w' ]+$|^the conversation is longer[\w ]+$/);
  const words = [failure.message, failure.why, failure.remedy].join("\n");
  assert.ok(!words.includes(KEY), "the key is told");
  assert.ok(words.length < 2_000, "the words have no end");
  assert.doesNotMatch(words, /[\p{Cc}--\n]/v, "a control character is told");
  return `${failure.message} ${kindOf(failure.why ?? "")
    .split(" ")
    .slice(0, 4)
    .join(" ")}`;
}

export const STREAM: Target = {
  name: "stream",
  about: "an answer of a model's server ends in a reply or a failure of code model, in time",
  material: {
    json: true,
    lines: true,
    most: 32_768,
    words:
      'data: event: id: retry: : [DONE] \n\n \r\n "choices" "delta" "content" "tool_calls" "function" "arguments" "index" "finish_reason" "stop" "tool_calls" "length" "usage" "error" "message" "code" "type" "content_block_start" "content_block_delta" "message_delta" "message_stop" "input_json_delta" "partial_json" "candidates" "parts" "functionCall" "finishReason" "STOP" response.output_item.added response.output_item.done response.output_text.delta response.function_call_arguments.delta response.completed response.incomplete response.failed "output_index" "item" "delta" "output" "response" hang reset cut=1 json 200 400 401 429 500 503 sk-fuzz-key-0123456789 <html>'.split(
        " ",
      ),
  },
  patience: 5_000,
  open,
};
