/**
 * What a device could use to forge a terminal's lines, or to hide words in what a person reads: C0 and
 * C1 controls, line separators, all that changes direction (Unicode UAX #9) or is not to be seen
 * (Default_Ignorable_Code_Point of UAX #44: soft hyphens, fillers, tags, variation selectors),
 * interlinear annotation, halves of surrogate pairs.
 *
 * Two kinds of them are also letters' own business and stay where they can be that. Joiners (U+200C and
 * U+200D) between characters beyond ASCII make emoji of several people and the words of Persian and
 * Indic scripts. A variation selector (U+FE00 to U+FE0F) makes a symbol an emoji: one is a look, a row of
 * them is a message. At the edge of a text the neighbour may be in the next part.
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
 * Text from outside as one printable line: controls are shown, not obeyed. `keep` names characters
 * that pass as they are ("\n\t" for a message on its own lines).
 */
export function escapeControl(text: string, keep = ""): string {
  return text.replace(UNSAFE, (character) => {
    if (keep.includes(character)) return character;
    return SHORT_ESCAPES[character] ?? character.split("").map(escapeOf).join("");
  });
}

/** Of a character beyond U+FFFF both halves, as JSON writes them, so that all can be read back. */
function escapeOf(unit: string): string {
  const hex = unit.charCodeAt(0).toString(16);
  return hex.length > 2 ? `\\u${hex.padStart(4, "0")}` : `\\x${hex.padStart(2, "0")}`;
}

/** Controls, invisible and direction-changing characters, and line separators: what JSON lets pass. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/**
 * One line of JSON. What a terminal could obey or hide is written as `\u…`, which every parser reads
 * back as it was, so that the output is the same everywhere and safe on a terminal, too.
 */
export function jsonLine(value: object): string {
  return `${JSON.stringify(value).replaceAll(INVISIBLE, unicodeEscapes)}\n`;
}

function unicodeEscapes(character: string): string {
  return character
    .split("")
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
    .join("");
}
