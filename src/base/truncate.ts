/** The beginning of a text, at most `most` UTF-16 units of it and never half a character. */
export function prefixOf(text: string, most: number): string {
  return text.slice(0, most).replace(/[\ud800-\udbff]$/, "");
}

/** The same, with an ellipsis where something was left out. */
export function truncate(text: string, most: number): string {
  return text.length > most ? `${prefixOf(text, most)}…` : text;
}
