/** The first `most` UTF-16 units of a text, without half a character at the end. */
export function prefixOf(text: string, most: number): string {
  return text.slice(0, most).replace(/[\ud800-\udbff]$/, "");
}

/** As `beginningOf`, with an ellipsis if the text was longer. */
export function truncate(text: string, most: number): string {
  return text.length > most ? `${prefixOf(text, most)}…` : text;
}
