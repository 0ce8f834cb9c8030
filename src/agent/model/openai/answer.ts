import type { Usage } from "../../../base/contract.ts";
import { at, listAt, textAt } from "../../../base/unknown.ts";
import { ModelFault } from "../fault.ts";
import { countOf, createTextKeeper, MAX_TEXT } from "../http/answer.ts";
import type { AnswerBuilder } from "../http/answer.ts";
import { errorIn } from "../http/refusal.ts";
import { createCallCollector } from "./calls.ts";
import { createThoughtFilter } from "./thoughts.ts";

/** Builds one reply from the chunks of a chat completion. */
export function createChatAnswer(): AnswerBuilder {
  const thoughts = createThoughtFilter();
  const calls = createCallCollector();
  const { keep, text } = createTextKeeper();
  let reasoning = "";
  let finish = "";
  let usage: Usage | undefined;

  return {
    get finished() {
      return finish !== "";
    },
    // Only `[DONE]` says so, which is no JSON.
    ended: false,
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
      text: text(),
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
