/** Characters of two columns (East_Asian_Width W and F of Unicode UAX #11), and emoji. */
const WIDE =
  /^(?:[\u1100-\u115f\u2e80-\u303e\u3041-\u4dbf\u4e00-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{17000}-\u{18aff}\u{1b000}-\u{1b2ff}\u{1f200}-\u{1f2ff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}|\p{Emoji}\ufe0f)/u;
/** A grapheme that stands alone and takes no column. */
const WIDTHLESS = /^[\p{Mn}\p{Me}\p{Default_Ignorable_Code_Point}]+$/u;
const PLAIN = /^[\x20-\x7e]*$/;

/** The columns that a terminal uses for printable text in one line. */
export function columnsOf(text: string): number {
  if (PLAIN.test(text)) return text.length;
  return graphemesOf(text).reduce((sum, grapheme) => sum + graphemeColumns(grapheme), 0);
}

/** Whether a line may be broken before and after the grapheme, as between ideographs. */
export function isWide(grapheme: string): boolean {
  return WIDE.test(grapheme);
}

/** What a reader takes for one character each (UAX #29). */
export function graphemesOf(text: string): string[] {
  segmenter ??= new Intl.Segmenter();
  return Array.from(segmenter.segment(text), ({ segment }) => segment);
}

let segmenter: Intl.Segmenter | undefined;

function graphemeColumns(grapheme: string): number {
  if (isWide(grapheme)) return 2;
  return WIDTHLESS.test(grapheme) ? 0 : 1;
}

/** The beginning of a line of printable text that fits into so many columns, with "…" if it was cut. */
export function fitted(text: string, columns: number): string {
  if (columnsOf(text) <= columns) return text;
  let room = columns - 1;
  let shown = "";
  for (const grapheme of graphemesOf(text)) {
    room -= graphemeColumns(grapheme);
    if (room < 0) break;
    shown += grapheme;
  }
  return columns > 0 ? `${shown}…` : "";
}
