/**
 * C0 and C1 controls, DEL, line separators, and the characters that change the direction or the
 * visibility of text (Unicode UAX #9): what a device could use to forge a terminal's lines.
 */
const UNSAFE =
  // oxlint-disable-next-line no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

const SHORT: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/**
 * Text from outside as one printable line: controls are shown, not obeyed. `keep` names characters
 * that pass as they are ("\n\t" for a message on its own lines).
 */
export function visible(text: string, keep = ""): string {
  return text.replace(UNSAFE, (character) => {
    if (keep.includes(character)) return character;
    const hex = character.charCodeAt(0).toString(16);
    return (
      SHORT[character] ??
      (hex.length > 2 ? `\\u${hex.padStart(4, "0")}` : `\\x${hex.padStart(2, "0")}`)
    );
  });
}
