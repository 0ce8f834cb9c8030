import { typingErrors } from "../../base/spelling.ts";

/** The known word that was most likely meant, or undefined where none is near enough to be guessed. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const lower = word.toLowerCase();
  let best: { readonly candidate: string; readonly distance: number } | undefined;
  for (const candidate of known) {
    const most = tolerance(lower, candidate);
    const distance = typingErrors(lower, candidate.toLowerCase(), most);
    if (distance > most) continue;
    if (distance < (best?.distance ?? Number.POSITIVE_INFINITY)) best = { candidate, distance };
  }
  if (best !== undefined) return best.candidate;
  const begun = known.filter((candidate) => lower.length > 1 && candidate.startsWith(lower));
  return begun.length === 1 ? begun[0] : undefined;
}

function tolerance(word: string, candidate: string): number {
  return Math.max(1, Math.floor(Math.min(word.length, candidate.length) / 3));
}
