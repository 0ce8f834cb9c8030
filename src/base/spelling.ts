/**
 * The known word that is nearest to what was written, where one is near enough to have been meant:
 * one typing error (insertion, deletion, substitution, swap of neighbours) in a short word, two in a
 * longer one. Case does not count.
 */
export function nearestWord(written: string, known: Iterable<string>): string | undefined {
  const most = written.length < 5 ? 1 : 2;
  let best: { readonly word: string; readonly errors: number } | undefined;
  for (const word of known) {
    if (Math.abs(word.length - written.length) > most) continue;
    const errors = typingErrors(written.toLowerCase(), word.toLowerCase());
    if (errors <= most && errors < (best?.errors ?? Infinity)) best = { word, errors };
  }
  return best?.word;
}

/** The optimal string alignment distance of two words. */
function typingErrors(left: string, right: string): number {
  let beforeLast: readonly number[] = [];
  let last: readonly number[] = Array.from({ length: right.length + 1 }, (_, column) => column);
  for (let row = 1; row <= left.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= right.length; column += 1) {
      const changed = left[row - 1] === right[column - 1] ? 0 : 1;
      const swapped = left[row - 2] === right[column - 1] && left[row - 1] === right[column - 2];
      current.push(
        Math.min(
          at(last, column) + 1,
          at(current, column - 1) + 1,
          at(last, column - 1) + changed,
          swapped && row > 1 && column > 1 ? at(beforeLast, column - 2) + 1 : Infinity,
        ),
      );
    }
    beforeLast = last;
    last = current;
  }
  return at(last, right.length);
}

function at(row: readonly number[], column: number): number {
  return row[column] ?? Infinity;
}
