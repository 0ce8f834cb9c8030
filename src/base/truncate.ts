/** The text without a trailing high surrogate, the first half of a character. */
export function withoutHalfCharacter(text: string): string {
  const last = text.charCodeAt(text.length - 1);
  return last >= 0xd800 && last <= 0xdbff ? text.slice(0, -1) : text;
}

/** The first `most` UTF-16 units of a text, without half a character at the end. */
export function prefixOf(text: string, most: number): string {
  return withoutHalfCharacter(text.slice(0, most));
}

/** As `prefixOf`, with an ellipsis if the text was longer. */
export function truncate(text: string, most: number): string {
  return text.length > most ? `${prefixOf(text, most)}…` : text;
}

/** The first sentence of a text, cut to at most `most` characters. */
export function firstSentence(text: string, most: number): string {
  return truncate(/^[\s\S]*?[.!?](?=\s+\p{Lu}|$)/u.exec(text)?.[0] ?? text, most);
}

/** The last lines of a text that have at most `most` characters together, after an ellipsis if there were more. */
export function lastLines(text: string, most: number): string {
  if (text.length <= most) return text;
  const from = text.indexOf("\n", text.length - most - 1);
  return `…${from === -1 ? "" : text.slice(from)}`;
}

/** The first `most` texts, and how many more there are: `a, b and 3 more`. */
export function listed(texts: readonly string[], most: number): string {
  const more = texts.length > most ? ` and ${texts.length - most} more` : "";
  return texts.slice(0, most).join(", ") + more;
}
