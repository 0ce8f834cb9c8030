import { columnsOf, graphemesOf, isWide } from "./width.ts";

/** Breaks text that comes in pieces into lines, between words. */
export interface WordWrap {
  /** What to print for the next piece: printable text, with newlines and tabs. */
  add(text: string): string;
  /** What to print after the last piece. */
  end(): string;
}

export interface WordWrapOptions {
  /** The width of the terminal, which may change. */
  readonly columns: () => number;
  /** Whether the beginning of a word that was printed may be erased, when its end does not fit. */
  readonly canErase: boolean;
  /**
   * Spaces before each further line of a text, whose first line begins in this column too. Then there are no
   * fences: no line is longer than the terminal.
   */
  readonly indent?: number;
}

const TAB = 8;
const FENCE = "```";

/**
 * Lines in a fenced block of code, and words longer than a line, are left to the terminal. Each piece is
 * printed at once: the last word may be incomplete, and goes to the next line as a whole with its other part.
 */
export function createWordWrap(options: WordWrapOptions): WordWrap {
  return new Wrapping(options);
}

/** A whole text in lines of at most so many columns; longer words are broken. */
export function wrapped(text: string, columns: number, indent = 0): string {
  const wrap = createWordWrap({ columns: () => columns, canErase: false, indent });
  const room = Math.max(1, columns - indent);
  const broken = text.replaceAll(/[^ \t\n]+/g, (word) => pieces(word, room).join("\n"));
  return (wrap.add(broken) + wrap.end()).trimEnd();
}

function pieces(word: string, columns: number): string[] {
  if (columnsOf(word) <= columns) return [word];
  let room = columns;
  const all = [""];
  for (const grapheme of graphemesOf(word)) {
    room -= columnsOf(grapheme);
    if (room < 0) {
      room = columns - columnsOf(grapheme);
      all.push("");
    }
    all[all.length - 1] += grapheme;
  }
  return all;
}

class Wrapping implements WordWrap {
  readonly #options: WordWrapOptions;
  readonly #margin: string;
  /** Of the text before `#gap`. */
  #column: number;
  /** The white space before the word, and its columns. */
  #gap = "";
  #gapColumns = 0;
  #word = "";
  /** The beginning of the word that is printed, with the gap. */
  #shown = "";
  /** The beginning of the line, for fences. */
  #head = "";
  #isCode = false;
  #output = "";

  constructor(options: WordWrapOptions) {
    this.#options = options;
    this.#margin = " ".repeat(options.indent ?? 0);
    this.#column = this.#margin.length;
  }

  add(text: string): string {
    for (const [token] of text.matchAll(/\n|[ \t]+|[^ \t\n]+/g)) {
      if (token === "\n") this.#newline();
      else if (/^[ \t]/.test(token)) this.#space(token);
      else this.#letters(token);
    }
    // In the last column a terminal waits with its break: the cursor is not where it seems to be.
    const columns = this.#options.columns();
    if (this.#endColumn() !== columns) this.#show();
    // What is longer than a line is not kept until its end.
    if (columnsOf(this.#word) > columns) this.#finishWord();
    return this.#take();
  }

  end(): string {
    this.#finishWord();
    return this.#take();
  }

  #take(): string {
    const output = this.#output;
    this.#output = "";
    return output;
  }

  #newline(): void {
    this.#finishWord();
    if (this.#head.startsWith(FENCE) && this.#margin === "") this.#isCode = !this.#isCode;
    this.#head = "";
    this.#break();
  }

  #break(): void {
    this.#output += `\n${this.#margin}`;
    this.#column = this.#margin.length;
    this.#clearGap();
  }

  #clearGap(): void {
    this.#gap = "";
    this.#gapColumns = 0;
  }

  #space(token: string): void {
    this.#finishWord();
    this.#gap += token;
    for (const character of token) {
      const column = this.#column + this.#gapColumns;
      this.#gapColumns += character === "\t" ? TAB - (column % TAB) : 1;
    }
  }

  #letters(token: string): void {
    if (this.#head.length < FENCE.length) this.#head += token;
    this.#word += token;
    if (!/[^\p{ASCII}]/u.test(this.#word)) return;
    const graphemes = graphemesOf(this.#word);
    this.#word = "";
    let wasWide = false;
    for (const grapheme of graphemes) {
      const wide = isWide(grapheme);
      if (wide || wasWide) this.#finishWord();
      this.#word += grapheme;
      wasWide = wide;
    }
  }

  #endColumn(): number {
    return this.#column + this.#gapColumns + columnsOf(this.#word);
  }

  /** Prints what is not printed of the word, on a new line if it does not fit. */
  #show(): void {
    if (this.#word === this.#shown) return;
    const isFull = this.#endColumn() > this.#options.columns() && !this.#isCode;
    const isFirst = this.#column === this.#margin.length;
    if (isFull && !isFirst && this.#shown === "") this.#break();
    else if (isFull && !isFirst && this.#options.canErase) {
      this.#output += `\u001b[${columnsOf(this.#shown)}D\u001b[K`;
      this.#shown = "";
      this.#break();
    }
    if (this.#shown === "") this.#output += this.#gap;
    this.#output += this.#word.slice(this.#shown.length);
    this.#shown = this.#word;
  }

  #finishWord(): void {
    if (this.#word === "") return;
    this.#show();
    const end = this.#endColumn();
    const columns = this.#options.columns();
    this.#column = end > columns ? ((end - 1) % columns) + 1 : end;
    this.#clearGap();
    this.#word = "";
    this.#shown = "";
  }
}
