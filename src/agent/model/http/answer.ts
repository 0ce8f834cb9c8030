import { randomUUID } from "node:crypto";
import type { Usage } from "../../../base/contract.ts";
import { fromJson, isObject } from "../../../base/unknown.ts";
import type { ToolCall } from "../../contract.ts";
import type { Reply } from "../contract.ts";
import { ModelError } from "../errors.ts";

/** Builds one reply from the JSON values of a response. Each dialect has its own. */
export interface AnswerBuilder {
  /**
   * Takes one chunk, or a whole answer; returns its text, which may be empty. Throws a `ModelError` for an
   * error inside the stream, and for an answer that is filtered or too long.
   */
  take(chunk: unknown): string;
  /** Whether a chunk, or a whole answer, is one of this dialect. */
  recognizes(chunk: unknown): boolean;
  /** Whether the server sent a reason for the end: the answer is whole, but its usage may follow. */
  readonly finished: boolean;
  /** Whether nothing more can follow. */
  readonly ended: boolean;
  /** Returns the text that was held back; nothing may follow. */
  end(): string;
  reply(): Reply;
}

/** Characters of an answer, and of its reasoning. */
export const MAX_TEXT = 1024 * 1024;

/** Collects the text of an answer, within its bound. */
export function createTextBuffer() {
  const pieces: string[] = [];
  let length = 0;
  return {
    append: (piece: string): string => {
      length += piece.length;
      if (length > MAX_TEXT) throw new ModelError("oversized", "the answer is longer than 1 MiB");
      if (piece !== "") pieces.push(piece);
      return piece;
    },
    text: () => pieces.join(""),
  };
}

/** No answer has more tokens; sums of bounded counts stay exact. */
const MOST_TOKENS = 1_000_000_000;

/** A provider's count of tokens; 0 if it is no valid count. */
export function countOf(value: unknown): number {
  const isCount = typeof value === "number" && Number.isFinite(value) && value > 0;
  return isCount ? Math.min(Math.round(value), MOST_TOKENS) : 0;
}

/** The part of a usage that the provider's cache has a share in, from counts that a provider sent. */
interface CacheCounts {
  readonly read?: unknown;
  readonly written?: unknown;
}

/** A usage whose input includes what a cache served and took; its counts of the cache never exceed the input. */
export function usageOf(
  inputTokens: number,
  outputTokens: number,
  { read, written }: CacheCounts,
): Usage {
  const cachedTokens = Math.min(countOf(read), inputTokens);
  const cacheWriteTokens = Math.min(countOf(written), inputTokens - cachedTokens);
  return {
    inputTokens,
    outputTokens,
    ...(cachedTokens > 0 && { cachedTokens }),
    ...(cacheWriteTokens > 0 && { cacheWriteTokens }),
  };
}

/** One tool call while it is received. */
export interface CallDraft {
  readonly id: string;
  readonly name: string;
  /** Sets the id and the name if they are not known yet, within the bound that all calls share. */
  identify(id: string, name: string): void;
  /** Adds a piece of the arguments' JSON text, within the same bound. */
  add(words: string): void;
}

const MAX_CALLS = 64;
/** Characters of all calls together: arguments, ids and names. */
const MAX_CHARACTERS = 1024 * 1024;

/** The tool calls of one answer, in the order in which they began. */
export function createCallDrafts() {
  const drafts: (CallDraft & { readonly pieces: string[] })[] = [];
  let characters = 0;
  const count = (words: string): string => {
    characters += words.length;
    if (characters <= MAX_CHARACTERS) return words;
    throw new ModelError("oversized", "the tool calls are too long");
  };
  return {
    begin(id: string, name: string): CallDraft {
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
    /** The calls that have a name, each with a unique id. */
    end(): ToolCall[] {
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

/** Unique within a conversation: some providers refuse a repeated id. */
function ownId(): string {
  return `call_${randomUUID().replaceAll("-", "").slice(0, 20)}`;
}

/** The arguments of an earlier call as an object; an empty one if they are malformed. */
export function argumentsOf(words: string): object {
  try {
    const value = fromJson(words);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}
