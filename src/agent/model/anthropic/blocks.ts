import { at, textAt } from "../../../base/unknown.ts";
import type { ToolCall } from "../../contract.ts";
import { ModelFault } from "../fault.ts";
import { createTextKeeper, MAX_TEXT } from "../http/answer.ts";
import { createCallDrafts } from "../http/calls.ts";
import type { CallDraft } from "../http/calls.ts";
import { packed } from "../http/carrier.ts";
import { callBlock, textBlock } from "./request.ts";

/** One block of the answer while it comes in. */
type Draft =
  | { readonly type: "text"; text: string }
  | { readonly type: "thinking"; thinking: string; signature: string }
  | { readonly type: "redacted_thinking"; readonly data: string }
  | { readonly type: "tool_use"; readonly call: CallDraft };

/** Puts the content blocks of a message together. */
export interface BlockCollector {
  /** A block begins, or is there as a whole; returns its text. */
  begin(index: unknown, block: unknown): string;
  /** A block goes on; returns what text it brings. */
  grow(index: unknown, delta: unknown): string;
  /** All text so far. */
  readonly text: () => string;
  /** The calls, and the carrier of the thinking before them where there is some. */
  end(): { readonly toolCalls: readonly ToolCall[]; readonly reasoning?: string };
}

/** Blocks of one answer: an empty one takes memory, too. */
const MAX_BLOCKS = 1024;

/** `by` is whose thinking the carrier holds. */
export function createBlockCollector(by: string): BlockCollector {
  const { keep, text } = createTextKeeper();
  const calls = createCallDrafts();
  const drafts = new Map<unknown, Draft>();
  let thoughts = 0;

  const think = (piece: string): string => {
    thoughts += piece.length;
    if (thoughts > MAX_TEXT) throw new ModelFault("oversized", "the thinking is too long");
    return piece;
  };

  return {
    begin(index, block) {
      const draft = draftOf(block, (id, name) => calls.begin(id, name));
      if (draft === undefined) return "";
      drafts.set(index, draft);
      if (drafts.size > MAX_BLOCKS) throw new ModelFault("oversized", "too many blocks");
      if (draft.type === "thinking") think(draft.thinking + draft.signature);
      if (draft.type === "redacted_thinking") think(draft.data);
      return draft.type === "text" ? keep(draft.text) : "";
    },
    grow(index, delta) {
      const draft = drafts.get(index);
      if (draft?.type === "tool_use") draft.call.add(textAt(delta, "partial_json"));
      if (draft?.type === "thinking") {
        draft.thinking += think(textAt(delta, "thinking"));
        draft.signature += think(textAt(delta, "signature"));
      }
      if (draft?.type !== "text") return "";
      const piece = keep(textAt(delta, "text"));
      draft.text += piece;
      return piece;
    },
    text,
    end() {
      const toolCalls = calls.end();
      const reasoning = carrierOf([...drafts.values()], toolCalls, by);
      return { toolCalls, ...(reasoning === undefined ? {} : { reasoning }) };
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
      // A stream begins with an empty input and sends the real one in pieces.
      const isWhole = typeof input === "object" && input !== null && Object.keys(input).length > 0;
      if (isWhole) call.add(JSON.stringify(input));
      return { type, call };
    }
    default:
      return undefined;
  }
}

/**
 * The whole answer in its own order, where it thought before it called: the provider wants the blocks
 * back as they were, with their signatures. Undefined where there is nothing that it would miss.
 */
function carrierOf(
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
      // Calls without a name are no calls, and are not among those that are left.
      const call = draft.call.name === "" ? undefined : left.shift();
      return call === undefined ? [] : [callBlock(call.id, call.name, call.arguments)];
    }
    if (draft.type === "text") return draft.text.trim() === "" ? [] : [textBlock(draft.text)];
    return draft.type === "thinking" && draft.signature === "" ? [] : [draft];
  });
  return packed(by, blocks);
}
