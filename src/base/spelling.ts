/**
 * Typing errors between two words: insertions, deletions, substitutions and swaps of neighbours
 * (optimal string alignment). Stops counting above `most`, which is then exceeded by one.
 */
export function typingErrors(left: string, right: string, most: number): number {
  if (Math.abs(left.length - right.length) > most) return most + 1;
  let beforeLast: number[] = [];
  let last = Array.from({ length: right.length + 1 }, (_, column) => column);
  for (let row = 1; row <= left.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= right.length; column += 1) {
      const same = left[row - 1] === right[column - 1] ? 0 : 1;
      let best = Math.min(at(last, column) + 1, at(current, column - 1) + 1);
      best = Math.min(best, at(last, column - 1) + same);
      if (isSwap(left, right, row, column)) best = Math.min(best, at(beforeLast, column - 2) + 1);
      current.push(best);
    }
    if (Math.min(...current) > most) return most + 1;
    beforeLast = last;
    last = current;
  }
  return Math.min(at(last, right.length), most + 1);
}

/** The end of a sentence that says that there is no `name`: the nearest name, and all of them. `kind` is their plural. */
export function alternatives(kind: string, name: string, names: readonly string[]): string {
  const nearest = nearestWord(name, names);
  const hint = nearest === undefined ? "." : `, did you mean ${nearest}?`;
  return `${hint} ${kind} are: ${names.join(", ") || "none"}.`;
}

/**
 * The known word that is nearest to what was written, if it is near enough: one typing error in a short
 * word, two in a longer one. Ignores case.
 */
export function nearestWord(written: string, known: Iterable<string>): string | undefined {
  return nearestWithin(written, known, () => (written.length < 5 ? 1 : 2));
}

/**
 * The command, flag or name that was most likely meant: one typing error for every three letters, or the
 * only known word that begins so. Undefined if none is near enough.
 */
export function suggestWord(word: string, known: readonly string[]): string | undefined {
  const nearest = nearestWithin(word, known, ({ length }) =>
    Math.max(1, Math.floor(Math.min(word.length, length) / 3)),
  );
  if (nearest !== undefined) return nearest;
  const lower = word.toLowerCase();
  const begun = known.filter((candidate) => lower.length > 1 && candidate.startsWith(lower));
  return begun.length === 1 ? begun[0] : undefined;
}

/** The first of the words with the fewest typing errors, of which each may have at most so many. */
function nearestWithin(
  written: string,
  known: Iterable<string>,
  mostIn: (word: string) => number,
): string | undefined {
  let best: { readonly word: string; readonly errors: number } | undefined;
  for (const word of known) {
    const most = mostIn(word);
    const errors = typingErrors(written.toLowerCase(), word.toLowerCase(), most);
    if (errors <= most && errors < (best?.errors ?? Infinity)) best = { word, errors };
  }
  return best?.word;
}

function at(row: readonly number[], column: number): number {
  return row[column] ?? Infinity;
}

function isSwap(left: string, right: string, row: number, column: number): boolean {
  if (row < 2 || column < 2) return false;
  return left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1];
}
