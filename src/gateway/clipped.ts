/** A text for a line of the log: not longer than that, and marked where it was. */
export function clipped(text: string, longest: number): string {
  return text.length > longest ? `${text.slice(0, longest)}…` : text;
}
