/** Keeps a model's inline thinking out of its answer. */
export interface ThoughtFilter {
  /** What of this piece belongs to the answer; the beginning is held back while it may become a tag. */
  take(piece: string): string;
  /** What was held back and turned out to be text. */
  end(): string;
}

const TAGS = [
  { open: "<think>", close: "</think>" },
  { open: "<thinking>", close: "</thinking>" },
];

/**
 * Takes `<think>…</think>` (and `<thinking>`) off the beginning of an answer, in whatever pieces it
 * comes, with the blanks around it. A tag later in the text is the model's own words and stays.
 */
export function createThoughtFilter(): ThoughtFilter {
  let take = begin;
  let held = "";
  let close = "";
  return { take: (piece) => take(piece), end: () => (take === begin ? held : "") };

  function begin(piece: string): string {
    held += piece;
    const start = held.trimStart();
    if (TAGS.some(({ open }) => open.startsWith(start))) return "";
    const tag = TAGS.find(({ open }) => start.startsWith(open));
    if (tag === undefined) {
      take = pass;
      return held;
    }
    take = think;
    close = tag.close;
    held = "";
    return think(start.slice(tag.open.length));
  }

  function think(piece: string): string {
    held += piece;
    const at = held.indexOf(close);
    if (at === -1) {
      held = held.slice(-close.length);
      return "";
    }
    take = skipBlanks;
    return skipBlanks(held.slice(at + close.length));
  }

  function skipBlanks(piece: string): string {
    const text = piece.trimStart();
    if (text !== "") take = pass;
    return text;
  }
}

function pass(piece: string): string {
  return piece;
}
