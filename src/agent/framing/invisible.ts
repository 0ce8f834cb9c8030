/** A text without what nobody can see in it, and how many characters that were. */
export interface Seen {
  readonly text: string;
  readonly removed: number;
}

/**
 * Characters that a reader on a screen does not see but a model reads: Unicode's tag characters and other
 * default ignorable ones (zero-width, variation selectors, fillers; UAX #44), bidirectional controls
 * (UAX #9), and control characters beside line ends and tabs.
 */
const INVISIBLE =
  // oxlint-disable-next-line no-control-regex
  /[\p{Default_Ignorable_Code_Point}\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/gu;
/** The same without what scripts and emoji need between two of their own characters. */
const JOINING =
  /(?<=\p{Extended_Pictographic}\ufe0f?|\p{Emoji_Modifier})\u200d(?=\p{Extended_Pictographic})|(?<=[\p{Extended_Pictographic}\d#*])[\ufe0e\ufe0f](?!\p{Default_Ignorable_Code_Point}{2})|(?<=[\p{L}\p{M}](?<![\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}\p{Script=Han}]))[\u200c\u200d](?=[\p{L}\p{M}])/gu;

/**
 * Takes out what hides words from people ("ASCII smuggling"): nothing a person could not see reaches the
 * model. Joiners stay where Persian, Indic scripts and emoji have them.
 */
export function visibleOnly(text: string): Seen {
  // Most texts have none, and looking for one costs little.
  if (text.search(INVISIBLE) === -1) return { text, removed: 0 };
  const needed = new Set([...text.matchAll(JOINING)].map(({ index }) => index));
  let removed = 0;
  const kept = text.replace(INVISIBLE, (character, index: number) => {
    if (needed.has(index)) return character;
    removed += 1;
    return "";
  });
  return { text: kept, removed };
}
