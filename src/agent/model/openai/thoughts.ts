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

/** Blanks in front of an answer beyond which no tag is looked for: they are an answer of blanks. */
const MAX_BLANKS = 4096;

/**
 * Takes `<think>…</think>` (and `<thinking>`) off the beginning of an answer, in whatever pieces it
 * comes, with the blanks around it. A tag later in the text is the model's own words and stays.
 */
export function createThoughtFilter(): ThoughtFilter {
  let take = begin;
  /** What is held back: blanks, and behind them what may become a tag. */
  let [blanks, held] = ["", ""];
  let close = "";
  return { take: (piece) => take(piece), end: () => (take === begin ? blanks + held : "") };

  /** Looks at each blank once: nothing says that anything else will come. */
  function begin(piece: string): string {
    const start = held === "" ? piece.trimStart() : held + piece;
    if (held === "") blanks += piece.slice(0, piece.length - start.length);
    held = start;
    const isOpen = TAGS.some(({ open }) => open.startsWith(start));
    if (isOpen && blanks.length <= MAX_BLANKS) return "";
    const tag = TAGS.find(({ open }) => start.startsWith(open));
    if (tag === undefined || blanks.length > MAX_BLANKS) {
      take = pass;
      return blanks + start;
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
