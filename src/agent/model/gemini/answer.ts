import type { ToolCall, Usage } from "../../contract.ts";
import { at, listAt, textAt } from "../../read.ts";
import { ModelFault } from "../fault.ts";
import { countOf, createTextKeeper, MAX_TEXT } from "../http/answer.ts";
import type { AnswerBuilder } from "../http/answer.ts";
import { createCallDrafts } from "../http/calls.ts";
import type { CallDraft } from "../http/calls.ts";
import { packed } from "../http/carrier.ts";
import { errorIn } from "../http/refusal.ts";

/** What of a call must be sent back with it. */
interface Signed {
  readonly draft: CallDraft;
  /** "" where the provider gave none. */
  readonly id: string;
  readonly signature: string;
}

/** Builds one reply from the chunks of generated content; `by` is whose signatures it holds. */
export function createContentAnswer(by: string): AnswerBuilder {
  const { keep, text } = createTextKeeper();
  const calls = createCallDrafts();
  const signed: Signed[] = [];
  let [finish, signatures] = ["", 0];
  let usage: Usage | undefined;

  const takePart = (part: unknown): string => {
    const call = at(part, "functionCall");
    if (call !== undefined) {
      const [id, name] = [textAt(call, "id"), textAt(call, "name")];
      const signature = textAt(part, "thoughtSignature");
      signatures += signature.length;
      if (signatures > MAX_TEXT) throw new ModelFault("oversized", "the signatures are too long");
      const draft = calls.begin(id, name);
      draft.add(JSON.stringify(at(call, "args") ?? {}));
      signed.push({ draft, id, signature });
    }
    return at(part, "thought") === true ? "" : textAt(part, "text");
  };
  const takeChunk = (chunk: unknown): string => {
    const error = errorIn(chunk) ?? blockedIn(chunk);
    if (error !== undefined) throw error;
    usage = usageIn(chunk) ?? usage;
    const candidate = listAt(chunk, "candidates")[0];
    const said = listAt(at(candidate, "content"), "parts").map(takePart).join("");
    finish = textAt(candidate, "finishReason") || finish;
    const fault = faultOf(finish, textAt(candidate, "finishMessage"));
    if (fault !== undefined) throw fault;
    return keep(said);
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
    reply() {
      const toolCalls = calls.end();
      const reasoning = carrierOf(signed, toolCalls, by);
      return {
        text: text(),
        toolCalls,
        cut: finish === "MAX_TOKENS",
        ...(reasoning === undefined ? {} : { reasoning }),
        ...(usage === undefined ? {} : { usage }),
      };
    },
  };
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

/** What to send back with the calls, by their ids; undefined where that is nothing. */
function carrierOf(
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
  return facts.length === 0 ? undefined : packed(by, Object.fromEntries(facts));
}
