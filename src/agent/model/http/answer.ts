import type { Reply } from "../contract.ts";
import { ModelFault } from "../fault.ts";

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
  rest(): string;
  reply(): Reply;
}

/** Characters of an answer, and of the reasoning that is kept. */
export const MAX_TEXT = 1024 * 1024;

/** The pieces of an answer's text, within their bound. */
export interface TextKeeper {
  readonly keep: (piece: string) => string;
  readonly text: () => string;
}

export function createTextKeeper(): TextKeeper {
  const pieces: string[] = [];
  let length = 0;
  return {
    keep(piece) {
      length += piece.length;
      if (length > MAX_TEXT) throw new ModelFault("oversized", "the answer is longer than 1 MiB");
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
