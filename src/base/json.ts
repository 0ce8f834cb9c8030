/** Controls, invisible and direction-changing characters, and line separators: what JSON lets pass. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/**
 * One line of JSON. What a terminal could obey or hide is written as `\u…`, which every parser reads
 * back as it was, so that the output is the same everywhere and safe on a terminal, too.
 */
export function jsonLine(value: object): string {
  return `${JSON.stringify(value).replaceAll(INVISIBLE, escape)}\n`;
}

function escape(character: string): string {
  return character
    .split("")
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
    .join("");
}
