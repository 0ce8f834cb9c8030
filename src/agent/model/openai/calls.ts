import { at, listAt, textAt } from "../../../base/unknown.ts";
import type { ToolCall } from "../../contract.ts";
import { createCallDrafts } from "../http/calls.ts";
import type { CallDraft } from "../http/calls.ts";

/** Puts the tool calls of a streamed answer together from their pieces. */
export interface CallCollector {
  /** Takes the `tool_calls` of one delta (or of a whole message). */
  take(delta: unknown): void;
  /** In the order in which the calls began; each has an id of its own and a name. */
  end(): ToolCall[];
}

/**
 * Servers differ: OpenAI numbers the calls and interleaves their pieces, others leave the index out
 * or send 0 for each and tell the calls apart by id alone, some send arguments as an object.
 */
export function createCallCollector(): CallCollector {
  const drafts = createCallDrafts();
  const begun: { readonly index: unknown; readonly draft: CallDraft }[] = [];

  const draftFor = (piece: unknown): CallDraft => {
    const [index, id] = [at(piece, "index"), textAt(piece, "id")];
    const known = begun.findLast((call) => call.index === index)?.draft;
    const isNew = known === undefined || (id !== "" && known.id !== "" && known.id !== id);
    if (!isNew) return known;
    const draft = drafts.begin(id, "");
    begun.push({ index, draft });
    return draft;
  };

  return {
    take(delta) {
      for (const piece of listAt(delta, "tool_calls")) {
        const draft = draftFor(piece);
        draft.identify(textAt(piece, "id"), textAt(at(piece, "function"), "name"));
        draft.add(argumentsOf(at(at(piece, "function"), "arguments")));
      }
    },
    end: () => drafts.end(),
  };
}

function argumentsOf(value: unknown): string {
  if (typeof value === "string") return value;
  return typeof value === "object" && value !== null ? JSON.stringify(value) : "";
}
