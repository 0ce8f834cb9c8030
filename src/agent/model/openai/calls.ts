import type { ToolCall } from "../../contract.ts";
import { at, listAt, textAt } from "../../read.ts";
import { ModelFault } from "../fault.ts";

/** Puts the tool calls of a streamed answer together from their pieces. */
export interface CallCollector {
  /** Takes the `tool_calls` of one delta (or of a whole message). */
  take(delta: unknown): void;
  /** In the order in which the calls began; each has an id of its own and a name. */
  end(): ToolCall[];
}

const MAX_CALLS = 64;
/** Characters of the arguments of all calls together. */
const MAX_ARGUMENTS = 1024 * 1024;

interface Draft {
  readonly index: unknown;
  id: string;
  name: string;
  readonly pieces: string[];
}

/**
 * Servers differ: OpenAI numbers the calls and interleaves their pieces, others leave the index out
 * or send 0 for each and tell the calls apart by id alone, some send arguments as an object.
 */
export function createCallCollector(): CallCollector {
  const drafts: Draft[] = [];
  let characters = 0;

  const draftFor = (piece: unknown): Draft => {
    const [index, id] = [at(piece, "index"), textAt(piece, "id")];
    const known = drafts.findLast((draft) => draft.index === index);
    const isNew = known === undefined || (id !== "" && known.id !== "" && known.id !== id);
    if (!isNew) return known;
    if (drafts.length >= MAX_CALLS) throw new ModelFault("oversized", "too many tool calls");
    const draft: Draft = { index, id, name: "", pieces: [] };
    drafts.push(draft);
    return draft;
  };

  return {
    take(delta) {
      for (const piece of listAt(delta, "tool_calls")) {
        const draft = draftFor(piece);
        draft.id ||= textAt(piece, "id");
        draft.name ||= textAt(at(piece, "function"), "name");
        const words = argumentsOf(at(at(piece, "function"), "arguments"));
        characters += words.length;
        if (characters > MAX_ARGUMENTS) {
          throw new ModelFault("oversized", "the arguments of the tool calls are too long");
        }
        draft.pieces.push(words);
      }
    },
    end: () => withOwnIds(drafts.filter(({ name }) => name !== "")),
  };
}

function argumentsOf(value: unknown): string {
  if (typeof value === "string") return value;
  return typeof value === "object" && value !== null ? JSON.stringify(value) : "";
}

function withOwnIds(drafts: readonly Draft[]): ToolCall[] {
  const taken = new Set<string>();
  return drafts.map(({ id, name, pieces }, position) => {
    const own = id !== "" && !taken.has(id) ? id : `call_${position}_${name}`;
    taken.add(own);
    return { id: own, name, arguments: pieces.join("") };
  });
}
