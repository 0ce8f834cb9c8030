import type { Usage } from "../../../base/contract.ts";
import { at, listAt, textAt } from "../../../base/unknown.ts";
import { ModelFault } from "../fault.ts";
import { countOf, createTextKeeper } from "../http/answer.ts";
import type { AnswerBuilder } from "../http/answer.ts";
import { errorIn } from "../http/refusal.ts";
import { createSignedCalls } from "./calls.ts";

/** Builds one reply from the chunks of generated content; `by` is whose signatures it holds. */
export function createContentAnswer(by: string): AnswerBuilder {
  const { keep, text } = createTextKeeper();
  const calls = createSignedCalls(by);
  let finish = "";
  let usage: Usage | undefined;

  const takeChunk = (chunk: unknown): string => {
    const error = errorIn(chunk) ?? blockedIn(chunk);
    if (error !== undefined) throw error;
    usage = usageIn(chunk) ?? usage;
    const candidate = listAt(chunk, "candidates")[0];
    const parts = listAt(at(candidate, "content"), "parts");
    for (const part of parts) calls.take(part);
    finish = textAt(candidate, "finishReason") || finish;
    const fault = faultOf(finish, textAt(candidate, "finishMessage"));
    if (fault !== undefined) throw fault;
    return keep(parts.map(textOf).join(""));
  };

  return {
    get finished() {
      return finish !== "";
    },
    // The stream has no mark of its end.
    ended: false,
    // Without events the chunks are the items of one list.
    take: (chunk) => (Array.isArray(chunk) ? chunk.map(takeChunk).join("") : takeChunk(chunk)),
    rest: () => "",
    reply: () => ({
      text: text(),
      ...calls.end(),
      cut: finish === "MAX_TOKENS",
      ...(usage === undefined ? {} : { usage }),
    }),
  };
}

function textOf(part: unknown): string {
  return at(part, "thought") === true ? "" : textAt(part, "text");
}

/** The provider's filter refused the question itself. */
function blockedIn(chunk: unknown): ModelFault | undefined {
  const reason = textAt(at(chunk, "promptFeedback"), "blockReason");
  return reason === "" ? undefined : new ModelFault("withheld", `blockReason ${reason}`);
}

const WHOLE: ReadonlySet<string> = new Set(["", "STOP", "MAX_TOKENS", "FINISH_REASON_UNSPECIFIED"]);
/** The model stumbled over its own call, as it may not do the next time. */
const STUMBLED = /^(?:MALFORMED_FUNCTION_CALL|MALFORMED_RESPONSE|UNEXPECTED_TOOL_CALL|OTHER)$/;
const OURS = /^(?:MISSING_THOUGHT_SIGNATURE|TOO_MANY_TOOL_CALLS)$/;

/** Every other reason names a filter: SAFETY, RECITATION, BLOCKLIST, PROHIBITED_CONTENT, SPII, LANGUAGE … */
function faultOf(finish: string, message: string): ModelFault | undefined {
  if (WHOLE.has(finish)) return undefined;
  const words = `finishReason ${finish} ${message}`.trim();
  if (STUMBLED.test(finish)) return new ModelFault("broken_off", words);
  return OURS.test(finish)
    ? new ModelFault("refused", words, { status: 400 })
    : new ModelFault("withheld", words);
}

/** Thinking is paid as output, and tools' prompts as input. */
function usageIn(chunk: unknown): Usage | undefined {
  const usage = at(chunk, "usageMetadata");
  if (usage === undefined) return undefined;
  const count = (field: string): number => countOf(at(usage, field));
  return {
    inputTokens: count("promptTokenCount") + count("toolUsePromptTokenCount"),
    outputTokens: count("candidatesTokenCount") + count("thoughtsTokenCount"),
  };
}
