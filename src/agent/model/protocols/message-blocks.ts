import { at, textAt } from "../../../base/unknown.ts";
import type { ToolCall } from "../../contract.ts";
import { ModelError } from "../errors.ts";
import { argumentsOf, createCallDrafts, createTextBuffer, MAX_TEXT } from "../http/answer.ts";
import type { CallDraft } from "../http/answer.ts";
import { validToolName } from "../http/normalize-history.ts";
import { wrapReasoning } from "../http/reasoning-envelope.ts";

/** A content block of a message. */
export type Block = Readonly<Record<string, unknown>>;

export function textBlock(text: string): Block {
  return { type: "text", text };
}

export function callBlock(id: string, name: string, words: string): Block {
  return { type: "tool_use", id: idOf(id), name: validToolName(name), input: argumentsOf(words) };
}

/** Ids of other providers may contain characters that this protocol refuses. */
export function idOf(id: string): string {
  return id.replaceAll(/[^\w-]/g, "_");
}

/** One block of the answer while it is received. */
type Draft =
  | { readonly type: "text"; text: string }
  | { readonly type: "thinking"; thinking: string; signature: string }
  | { readonly type: "redacted_thinking"; readonly data: string }
  | { readonly type: "tool_use"; readonly call: CallDraft };

export type BlockCollector = ReturnType<typeof createBlockCollector>;

/** Blocks of one answer: an empty one needs memory as well. */
const MAX_BLOCKS = 1024;

/** Collects the content blocks of a message; `by` names the model in the envelope. */
export function createBlockCollector(by: string, { append, text } = createTextBuffer()) {
  const calls = createCallDrafts();
  const drafts = new Map<unknown, Draft>();
  let thoughts = 0;

  const think = (piece: string): string => {
    thoughts += piece.length;
    if (thoughts > MAX_TEXT) throw new ModelError("oversized", "the thinking is too long");
    return piece;
  };

  return {
    /** Takes the start of a block, or a whole block; returns its text. */
    begin(index: unknown, block: unknown): string {
      const draft = draftOf(block, (id, name) => calls.begin(id, name));
      if (draft === undefined) return "";
      drafts.set(index, draft);
      if (drafts.size > MAX_BLOCKS) throw new ModelError("oversized", "too many blocks");
      if (draft.type === "thinking") think(draft.thinking + draft.signature);
      if (draft.type === "redacted_thinking") think(draft.data);
      return draft.type === "text" ? append(draft.text) : "";
    },
    /** Takes the next piece of a block; returns its text. */
    grow(index: unknown, delta: unknown): string {
      const draft = drafts.get(index);
      if (draft?.type === "tool_use") draft.call.add(textAt(delta, "partial_json"));
      if (draft?.type === "thinking") {
        draft.thinking += think(textAt(delta, "thinking"));
        draft.signature += think(textAt(delta, "signature"));
      }
      if (draft?.type !== "text") return "";
      const piece = append(textAt(delta, "text"));
      draft.text += piece;
      return piece;
    },
    /** All text so far. */
    text,
    /** The calls, and the envelope of the thinking before them if there is any. */
    end() {
      const toolCalls = calls.end();
      const reasoning = envelopeOf([...drafts.values()], toolCalls, by);
      return { toolCalls, ...(reasoning !== undefined && { reasoning }) };
    },
  };
}

function draftOf(
  block: unknown,
  beginCall: (id: string, name: string) => CallDraft,
): Draft | undefined {
  const type = textAt(block, "type");
  switch (type) {
    case "text":
      return { type, text: textAt(block, "text") };
    case "thinking":
      return { type, thinking: textAt(block, "thinking"), signature: textAt(block, "signature") };
    case "redacted_thinking":
      return { type, data: textAt(block, "data") };
    case "tool_use": {
      const call = beginCall(textAt(block, "id"), textAt(block, "name"));
      const input = at(block, "input");
      // A stream begins with an empty input and sends the input in pieces.
      const isWhole = typeof input === "object" && input !== null && Object.keys(input).length > 0;
      if (isWhole) call.add(JSON.stringify(input));
      return { type, call };
    }
    default:
      return undefined;
  }
}

/**
 * The whole answer in its order, if it has signed thinking before tool calls: the provider requires the
 * blocks back unchanged, with their signatures. Undefined otherwise.
 */
function envelopeOf(
  drafts: readonly Draft[],
  toolCalls: readonly ToolCall[],
  by: string,
): string | undefined {
  const isSigned = drafts.some(
    (draft) =>
      draft.type === "redacted_thinking" || (draft.type === "thinking" && draft.signature !== ""),
  );
  if (!isSigned || toolCalls.length === 0) return undefined;
  const left = [...toolCalls];
  const blocks = drafts.flatMap((draft) => {
    if (draft.type === "tool_use") {
      // Calls without a name were dropped, so they are not in `left`.
      const call = draft.call.name === "" ? undefined : left.shift();
      return call === undefined ? [] : [callBlock(call.id, call.name, call.arguments)];
    }
    if (draft.type === "text") return draft.text.trim() === "" ? [] : [textBlock(draft.text)];
    return draft.type === "thinking" && draft.signature === "" ? [] : [draft];
  });
  return wrapReasoning(by, blocks);
}
