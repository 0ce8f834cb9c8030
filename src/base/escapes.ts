/** One character that stands escaped in a text. */
export interface Escape {
  /** What it means; empty for backslashes alone, and for what nobody sees. */
  readonly means: string;
  /** UTF-16 units that it takes in the text. */
  readonly length: number;
  /** The two digits of `\x73`. */
  readonly digits?: string;
}

/**
 * JSON and its kin (`\u0073`, `\u{73}`, `\x73`, `\n`), URL encoding (`%73`), HTML (`&#115;`, `&#x73;`,
 * `&amp;`); escaped again up to two times, with backslashes up to eight in a row; halves of unseen pairs.
 */
const WHOLE = new RegExp(
  [
    String.raw`\\{1,8}(?:u(?<four>[\da-f]{4})|u\{(?<braced>[\da-f]{1,6})\}|x(?<byte>[\da-f]{2})|(?<short>[nrtvfb]))?`,
    String.raw`%(?:25){0,2}(?<percent>[\da-f]{2})`,
    String.raw`&(?:amp;){0,2}(?:#x(?<hex>[\da-f]{1,6});|#(?<decimal>\d{1,7});|(?<name>amp|lt|gt|quot|apos);)`,
    String.raw`[\udb40-\udb43][\udc00-\udfff]?`,
  ].join("|"),
  "iy",
);

const ANYWHERE = new RegExp(WHOLE.source, "gi");

/** What ends in the middle of one of these, or can go on as a longer one. */
const BEGUN = new RegExp(
  [
    String.raw`\\{1,8}(?:u(?:[\da-f]{0,3}|\{[\da-f]{0,6})|x[\da-f]?)?$`,
    String.raw`%(?:25){0,2}[\da-f]?$`,
    String.raw`&(?:amp;){0,2}(?:#(?:x[\da-f]{0,6}|\d{0,7})|[a-z]{0,4})$`,
    String.raw`[\udb40-\udb43]$`,
  ].join("|"),
  "iy",
);

const SHORT: Readonly<Record<string, string>> = {
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  f: "\f",
  b: "\b",
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
};

/** Units; an escape is shorter. */
const MOST = 24;

/** Whether the text ends within an escape that begins at `at`. */
export function isEscapeBegun(text: string, at: number): boolean {
  if (text.length - at > MOST) return false;
  BEGUN.lastIndex = at;
  return BEGUN.test(text);
}

/** The escape that begins at `at`; undefined where what stands there is none. */
export function escapeAt(text: string, at: number): Escape | undefined {
  WHOLE.lastIndex = at;
  const match = WHOLE.exec(text);
  if (match === null) return undefined;
  const { byte, percent, ...others } = match.groups ?? {};
  const length = match[0].length;
  const octet = percent ?? byte;
  if (octet === undefined) return { means: meaningOf(others), length };
  const means = octetText(Number.parseInt(octet, 16));
  return { means, length, ...(byte !== undefined && { digits: byte }) };
}

function meaningOf({ four, braced, hex, decimal, short, name }: Record<string, string>): string {
  const named = short ?? name;
  if (named !== undefined) return SHORT[named.toLowerCase()] ?? "";
  const sixteenth = four ?? braced ?? hex;
  const code = Number.parseInt(sixteenth ?? decimal ?? "", sixteenth === undefined ? 10 : 16);
  return code <= 0x10_ff_ff ? String.fromCodePoint(code) : "";
}

/** A byte of UTF-8 as one unit: that of its character where it is ASCII, or else one of private use. */
export function octetText(byte: number): string {
  return String.fromCharCode(byte < 0x80 ? byte : 0xf7_00 + byte);
}

/** The text with every escape as what it means. */
export function unescaped(text: string): string {
  return text.replaceAll(ANYWHERE, (escape) => escapeAt(escape, 0)?.means ?? "");
}
