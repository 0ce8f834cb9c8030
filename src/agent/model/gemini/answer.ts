import type { Usage } from "../../../base/contract.ts";
import { at, listAt, textAt } from "../../../base/unknown.ts";
import type { ToolCall } from "../../contract.ts";
import { ModelError } from "../errors.ts";
import { countOf, createTextBuffer, MAX_TEXT, createCallDrafts } from "../http/answer.ts";
import type { AnswerBuilder, CallDraft } from "../http/answer.ts";
import { errorIn } from "../http/error-response.ts";
import { wrapReasoning } from "../http/reasoning-envelope.ts";

/** Builds one reply from the chunks of generated content; `by` names the model that signs. */
export function createContentAnswer(by: string): AnswerBuilder {
  const { append, text } = createTextBuffer();
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
    return append(parts.map(textOf).join(""));
  };

  return {
    get finished() {
      return finish !== "";
    },
    // The stream has no end marker.
    ended: false,
    // Without events the chunks are the items of one list.
    take: (chunk) => (Array.isArray(chunk) ? chunk.map(takeChunk).join("") : takeChunk(chunk)),
    end: () => "",
    reply: () => ({
      text: text(),
      ...calls.end(),
      truncated: finish === "MAX_TOKENS",
      ...(usage === undefined ? {} : { usage }),
    }),
  };
}

function textOf(part: unknown): string {
  return at(part, "thought") === true ? "" : textAt(part, "text");
}

/** The provider's filter refused the question itself. */
function blockedIn(chunk: unknown): ModelError | undefined {
  const reason = textAt(at(chunk, "promptFeedback"), "blockReason");
  return reason === "" ? undefined : new ModelError("withheld", `blockReason ${reason}`);
}

const WHOLE: ReadonlySet<string> = new Set(["", "STOP", "MAX_TOKENS", "FINISH_REASON_UNSPECIFIED"]);
/** The model wrote a malformed call; the next try may succeed. */
const STUMBLED = /^(?:MALFORMED_FUNCTION_CALL|MALFORMED_RESPONSE|UNEXPECTED_TOOL_CALL|OTHER)$/;
const OURS = /^(?:MISSING_THOUGHT_SIGNATURE|TOO_MANY_TOOL_CALLS)$/;

/** Every other reason names a filter: SAFETY, RECITATION, BLOCKLIST, PROHIBITED_CONTENT, SPII, LANGUAGE … */
function faultOf(finish: string, message: string): ModelError | undefined {
  if (WHOLE.has(finish)) return undefined;
  const words = `finishReason ${finish} ${message}`.trim();
  if (STUMBLED.test(finish)) return new ModelError("broken_off", words);
  return OURS.test(finish)
    ? new ModelError("refused", words, { status: 400 })
    : new ModelError("withheld", words);
}

/** Thinking is billed as output, and tool prompts as input. */
function usageIn(chunk: unknown): Usage | undefined {
  const usage = at(chunk, "usageMetadata");
  if (usage === undefined) return undefined;
  const count = (field: string): number => countOf(at(usage, field));
  return {
    inputTokens: count("promptTokenCount") + count("toolUsePromptTokenCount"),
    outputTokens: count("candidatesTokenCount") + count("thoughtsTokenCount"),
  };
}

/** The parts of a call to send back with it. */
interface Signed {
  readonly draft: CallDraft;
  /** "" if the provider sent none. */
  readonly id: string;
  readonly signature: string;
}

/** The calls of an answer with their signatures. */
interface SignedCalls {
  /** Takes the call of one part, which is always whole; a part may have none. */
  take(part: unknown): void;
  /** The calls, and the envelope of their ids and signatures if there are any. */
  end(): { readonly toolCalls: readonly ToolCall[]; readonly reasoning?: string };
}

/** `by` names the model in the envelope. */
function createSignedCalls(by: string): SignedCalls {
  const calls = createCallDrafts();
  const signed: Signed[] = [];
  let characters = 0;
  return {
    take(part) {
      const call = at(part, "functionCall");
      if (call === undefined) return;
      const [id, name] = [textAt(call, "id"), textAt(call, "name")];
      const signature = textAt(part, "thoughtSignature");
      characters += signature.length;
      if (characters > MAX_TEXT) throw new ModelError("oversized", "the signatures are too long");
      const draft = calls.begin(id, name);
      draft.add(JSON.stringify(at(call, "args") ?? {}));
      signed.push({ draft, id, signature });
    },
    end() {
      const toolCalls = calls.end();
      const reasoning = envelopeOf(signed, toolCalls, by);
      return { toolCalls, ...(reasoning === undefined ? {} : { reasoning }) };
    },
  };
}

/** The data to send back with the calls, by their ids; undefined if there is none. */
function envelopeOf(
  signed: readonly Signed[],
  toolCalls: readonly ToolCall[],
  by: string,
): string | undefined {
  const named = signed.filter(({ draft }) => draft.name !== "");
  const facts = toolCalls.flatMap(({ id }, index): [string, Record<string, unknown>][] => {
    const { id: own = "", signature = "" } = named[index] ?? {};
    const given = own !== "" && own === id ? { given: true } : {};
    const fact = { ...given, ...(signature === "" ? {} : { signature }) };
    return Object.keys(fact).length === 0 ? [] : [[id, fact]];
  });
  return facts.length === 0 ? undefined : wrapReasoning(by, Object.fromEntries(facts));
}
