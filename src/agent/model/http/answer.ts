import { randomUUID } from "node:crypto";
import { fromJson } from "../../../base/unknown.ts";
import type { ToolCall } from "../../contract.ts";
import type { Reply } from "../contract.ts";
import { ModelError } from "../errors.ts";

/** Builds one reply from the JSON values of an answer's body, each in its dialect's shape. */
export interface AnswerBuilder {
  /**
   * Takes one chunk (or a whole answer); returns its text, which may be empty. Throws a `ModelFault` for
   * an error inside the stream, for a filtered and for a boundless answer.
   */
  take(chunk: unknown): string;
  /** Whether the server said why the answer ends: it is whole, though its usage may still follow. */
  readonly finished: boolean;
  /** Whether nothing more of the answer can follow. */
  readonly ended: boolean;
  /** The server said that nothing more comes: what was held back is text. */
  end(): string;
  reply(): Reply;
}

/** Characters of an answer, and of the reasoning that is kept. */
export const MAX_TEXT = 1024 * 1024;

/** The pieces of an answer's text, within their bound. */
export interface TextBuffer {
  readonly append: (piece: string) => string;
  readonly text: () => string;
}

export function createTextBuffer(): TextBuffer {
  const pieces: string[] = [];
  let length = 0;
  return {
    append(piece) {
      length += piece.length;
      if (length > MAX_TEXT) throw new ModelError("oversized", "the answer is longer than 1 MiB");
      if (piece !== "") pieces.push(piece);
      return piece;
    },
    text: () => pieces.join(""),
  };
}

/** No answer has more tokens; sums of what is bounded so stay whole numbers. */
const MOST_TOKENS = 1_000_000_000;

/** A count of tokens as a provider tells it; 0 for what is none. */
export function countOf(value: unknown): number {
  const isCount = typeof value === "number" && Number.isFinite(value) && value > 0;
  return isCount ? Math.min(Math.round(value), MOST_TOKENS) : 0;
}

/** One tool call while it comes in. */
export interface CallDraft {
  readonly id: string;
  readonly name: string;
  /** Sets what of these is not known yet, within the bound that all calls share. */
  identify(id: string, name: string): void;
  /** Adds a piece of the arguments' JSON text, within the same bound. */
  add(words: string): void;
}

/** The tool calls of one answer, in the order in which they began. */
interface CallDrafts {
  begin(id: string, name: string): CallDraft;
  /** Those that have a name, each with an id of its own. */
  end(): ToolCall[];
}

const MAX_CALLS = 64;
/** Characters of all calls together: their arguments, ids and names. */
const MAX_CHARACTERS = 1024 * 1024;

export function createCallDrafts(): CallDrafts {
  const drafts: (CallDraft & { readonly pieces: string[] })[] = [];
  let characters = 0;
  const count = (words: string): string => {
    characters += words.length;
    if (characters <= MAX_CHARACTERS) return words;
    throw new ModelError("oversized", "the tool calls are too long");
  };
  return {
    begin(id, name) {
      if (drafts.length >= MAX_CALLS) throw new ModelError("oversized", "too many tool calls");
      const pieces: string[] = [];
      const draft = {
        id: "",
        name: "",
        pieces,
        identify(itsId: string, itsName: string) {
          if (draft.id === "") draft.id = count(itsId);
          if (draft.name === "") draft.name = count(itsName);
        },
        add(words: string) {
          if (words !== "") pieces.push(count(words));
        },
      };
      draft.identify(id, name);
      drafts.push(draft);
      return draft;
    },
    end() {
      const taken = new Set<string>();
      return drafts
        .filter(({ name }) => name !== "")
        .map(({ id, name, pieces }) => {
          const own = id !== "" && !taken.has(id) ? id : ownId();
          taken.add(own);
          return { id: own, name, arguments: pieces.join("") };
        });
    },
  };
}

/** Unlike every other of a conversation, because some providers refuse one that holds an id twice. */
function ownId(): string {
  return `call_${randomUUID().replaceAll("-", "").slice(0, 20)}`;
}

/** The arguments of an earlier call as an object; malformed ones, as models send them, as an empty one. */
export function argumentsOf(words: string): object {
  try {
    const value = fromJson(words);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
  } catch {
    return {};
  }
}
