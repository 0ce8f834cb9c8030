/**
 * Characters that could forge lines on a terminal or hide words from a reader: C0 and C1 controls, line
 * separators, direction changes (Unicode UAX #9), invisible characters (Default_Ignorable_Code_Point of
 * UAX #44: soft hyphens, fillers, tags, variation selectors), interlinear annotation, halves of surrogate
 * pairs.
 *
 * Two kinds of them also belong to normal text and pass there. Joiners (U+200C and U+200D) between
 * characters beyond ASCII form emoji of several people and words of Persian and Indic scripts. One
 * variation selector (U+FE00 to U+FE0F) turns a symbol into an emoji; a row of them can hide a message. At
 * the edge of a text both pass, because the neighbour may be in the next part.
 */
const UNSAFE = new RegExp(
  [
    String.raw`(?![\u200c\u200d\ufe00-\ufe0f])[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Default_Ignorable_Code_Point}\ufff9-\ufffb]`,
    String.raw`(?<=[\p{ASCII}[\p{Default_Ignorable_Code_Point}--\ufe0f]])[\u200c\u200d]`,
    String.raw`[\u200c\u200d](?=[\p{ASCII}\p{Default_Ignorable_Code_Point}])`,
    String.raw`(?<=\p{Default_Ignorable_Code_Point})[\ufe00-\ufe0f]`,
  ].join("|"),
  "gv",
);

const SHORT_ESCAPES: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/**
 * Text from outside as one printable line, with control characters escaped. Characters in `allowed` pass
 * unchanged ("\n\t" for a message of several lines).
 */
export function escapeControl(text: string, allowed = ""): string {
  return text.replace(UNSAFE, (character) => {
    if (allowed.includes(character)) return character;
    return SHORT_ESCAPES[character] ?? character.split("").map(escapeOf).join("");
  });
}

/** A short escape of one UTF-16 unit; a character beyond U+FFFF becomes two escapes. */
function escapeOf(unit: string): string {
  const code = unit.charCodeAt(0);
  return code > 0xff ? unicodeEscape(unit) : `\\x${code.toString(16).padStart(2, "0")}`;
}

/** Escapes one UTF-16 unit as JSON does. */
export function unicodeEscape(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** Control, invisible and direction-changing characters and line separators, which JSON does not escape. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/**
 * One line of JSON. Characters that a terminal would obey or hide are written as `\u…`, which parsers read
 * back. So the output is the same everywhere and safe on a terminal.
 */
export function jsonLine(value: object): string {
  const text = JSON.stringify(value).replaceAll(INVISIBLE, (character) =>
    character.split("").map(unicodeEscape).join(""),
  );
  return `${text}\n`;
}
