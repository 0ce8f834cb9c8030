/** What data stands between. No other text is likely to hold it, so files come through as they are. */
export const TAG = "data_only";

/** What stands for the first character of a tag that is not ours: seen, and no bracket. */
export const BLUNT = "‹";

/** Brackets that open a tag, or look like it, or are written as entities or escapes. */
const BRACKETS = "<＜﹤〈〈⟨˂ᐸ❮❬⟪«≺≪⋖";
const OPENING = new RegExp(
  String.raw`[${BRACKETS}]|&(?:amp;)*(?:lt|LT|#0*60|#[xX]0*3[cC]);?|%3[cC]|\\u(?:003[cC]|\{0*3[cC]\})|\\x3[cC]`,
  "g",
);

/**
 * What may stand between a bracket and the name that it opens: no further bracket, which is looked at by
 * itself, so that a row of them takes no longer than other texts.
 */
const BETWEEN = new RegExp(`[^\\p{L}\\p{N}@&${BRACKETS}]*`, "uy");
/** Characters behind a bracket that are looked at: the name, written wide and with marks. */
const WINDOW = 64;
const NAME = TAG.replaceAll(/[^a-z]/g, "");

/** Letters of other scripts that look like those of the name (Unicode UTS #39). */
const LOOKALIKES: Readonly<Record<string, string>> = {
  а: "a", ɑ: "a", α: "a", "@": "a", "4": "a",
  ԁ: "d", ꓒ: "d", ժ: "d",
  т: "t", τ: "t", "7": "t",
  о: "o", ο: "o", օ: "o", "0": "o", ס: "o",
  п: "n", ո: "n", η: "n", ռ: "n",
  ӏ: "l", ι: "l", і: "l", i: "l", "1": "l", "|": "l", ǀ: "l", ı: "l",
  у: "y", γ: "y", ү: "y", ყ: "y",
}; // prettier-ignore

/**
 * A text that can neither end the frame it stands in nor open one: whatever looks like its tag begins
 * with a blunt bracket then. The text must hold no invisible characters any more.
 */
export function withoutTags(text: string): string {
  return text.replace(OPENING, (bracket, index: number) =>
    isTag(text, index + bracket.length) ? BLUNT : bracket,
  );
}

function isTag(text: string, from: number): boolean {
  BETWEEN.lastIndex = from;
  const start = from + (BETWEEN.exec(text)?.[0].length ?? 0);
  let found = 0;
  // Almost no bracket gets further than the first letter.
  for (const character of text.slice(start, start + WINDOW)) {
    if (found === 0 && BRACKETS.includes(character)) return false;
    for (const letter of plainLetters(character)) {
      if (letter !== NAME[found]) return false;
      found += 1;
      if (found === NAME.length) return true;
    }
  }
  return false;
}

/** Small Latin letters, whatever they are dressed as; "" for what is none. */
function plainLetters(character: string): string {
  const plain = character.normalize("NFKD").toLowerCase();
  const letters = Array.from(plain, (letter) => LOOKALIKES[letter] ?? letter);
  return letters.join("").replaceAll(/[^a-z]/g, "");
}
