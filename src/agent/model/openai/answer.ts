import type { Usage } from "../../contract.ts";
import { at, listAt, textAt } from "../../read.ts";
import type { Reply } from "../contract.ts";
import { ModelFault } from "../fault.ts";
import { createCallCollector } from "./calls.ts";
import { createThoughtFilter } from "./thoughts.ts";

/** Builds one reply from the chunks of a chat completion. */
export interface AnswerBuilder {
  /** Takes one chunk (or a whole completion); returns its text, which may be empty. */
  take(chunk: unknown): string;
  /** Whether the server said why the answer ends. */
  readonly finished: boolean;
  /** The server said that nothing more comes: what was held back is text. */
  rest(): string;
  reply(): Reply;
}

/** Characters of an answer, and of the reasoning that is kept. */
const MAX_TEXT = 1024 * 1024;

/** Throws a `ModelFault` for an error inside the stream, for a filtered and for a boundless answer. */
export function createAnswerBuilder(): AnswerBuilder {
  const thoughts = createThoughtFilter();
  const calls = createCallCollector();
  const pieces: string[] = [];
  let length = 0;
  let reasoning = "";
  let finish = "";
  let usage: Usage | undefined;

  const keep = (text: string): string => {
    length += text.length;
    if (length > MAX_TEXT) throw new ModelFault("oversized", "the answer is longer than 1 MiB");
    pieces.push(text);
    return text;
  };

  return {
    get finished() {
      return finish !== "";
    },
    take(chunk) {
      const error = errorIn(chunk);
      if (error !== undefined) throw error;
      usage = usageIn(chunk) ?? usage;
      const choice = listAt(chunk, "choices")[0];
      const delta = at(choice, "delta") ?? at(choice, "message");
      finish = textAt(choice, "finish_reason") || finish;
      if (finish === "content_filter")
        throw new ModelFault("withheld", "finish_reason content_filter");
      if (finish === "error")
        throw new ModelFault("refused", "finish_reason error", { status: 500 });
      calls.take(delta);
      const thought = textAt(delta, "reasoning_content") || textAt(delta, "reasoning");
      if (reasoning.length + thought.length <= MAX_TEXT) reasoning += thought;
      return keep(thoughts.take(contentOf(at(delta, "content"))));
    },
    rest: () => keep(thoughts.end()),
    reply: () => ({
      text: pieces.join(""),
      toolCalls: calls.end(),
      cut: finish === "length",
      ...(reasoning === "" ? {} : { reasoning }),
      ...(usage === undefined ? {} : { usage }),
    }),
  };
}

/** Text as it is, or as a list of parts of which some are text (others are thinking). */
function contentOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content
    .filter((part) => textAt(part, "type") === "text")
    .map((part) => textAt(part, "text"))
    .join("");
}

function usageIn(chunk: unknown): Usage | undefined {
  const usage = at(chunk, "usage");
  const inputTokens = at(usage, "prompt_tokens");
  const outputTokens = at(usage, "completion_tokens");
  if (typeof inputTokens !== "number" && typeof outputTokens !== "number") return undefined;
  return { inputTokens: countOf(inputTokens), outputTokens: countOf(outputTokens) };
}

function countOf(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) && value > 0 ? Math.round(value) : 0;
}

function errorIn(chunk: unknown): ModelFault | undefined {
  const error = at(chunk, "error");
  const isError = (error !== undefined && error !== null) || textAt(chunk, "object") === "error";
  if (!isError) return undefined;
  return new ModelFault("refused", messageIn(chunk), { status: statusOf(error ?? chunk) });
}

/** What a provider says went wrong, in the several shapes of error bodies. */
export function messageIn(body: unknown): string {
  const error = at(body, "error");
  const message =
    textAt(error, "message") ||
    textAt(body, "error") ||
    textAt(body, "message") ||
    textAt(body, "detail");
  if (message !== "") return message;
  return JSON.stringify(error ?? at(body, "detail") ?? body ?? null);
}

/** Errors inside a stream have no status; their code or type is often a number or names one. */
function statusOf(error: unknown): number {
  const code = at(error, "code") ?? at(error, "status");
  const number = Number(code);
  if (Number.isInteger(number) && number >= 400 && number < 600) return number;
  const words = `${textAt(error, "code")} ${textAt(error, "type")}`;
  if (/rate_?limit|too_many/i.test(words)) return 429;
  if (/invalid|auth|permission|not_found|quota|billing|context/i.test(words)) return 400;
  return 500;
}
