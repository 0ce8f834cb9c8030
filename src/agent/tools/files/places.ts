/** Where a text stands in another. */
export interface Places {
  /** The first of them, in order. */
  readonly first: readonly number[];
  readonly count: number;
}

/**
 * Where a text (not the empty one) begins in another, places that overlap too. Takes time in proportion
 * to both lengths, whatever they hold (Knuth, Morris and Pratt): what runtimes search with takes their
 * product where letters repeat, minutes for a file of megabytes.
 */
export function placesOf(text: string, wanted: string, most: number): Places {
  const borders = bordersOf(wanted);
  const first: number[] = [];
  let [count, matched] = [0, 0];
  for (let at = 0; at < text.length; at += 1) {
    matched = extended(matched, text.charCodeAt(at), wanted, borders);
    if (matched < wanted.length) continue;
    count += 1;
    if (first.length < most) first.push(at + 1 - matched);
    matched = borders[matched - 1] ?? 0;
  }
  return { first, count };
}

/** For each beginning of a text, how long the longest shorter beginning is that it ends with. */
function bordersOf(wanted: string): Uint32Array {
  const borders = new Uint32Array(wanted.length);
  let matched = 0;
  for (let at = 1; at < wanted.length; at += 1) {
    matched = extended(matched, wanted.charCodeAt(at), wanted, borders);
    borders[at] = matched;
  }
  return borders;
}

/** How much of the wanted text the next unit ends, where so much of it stood before. */
function extended(before: number, unit: number, wanted: string, borders: Uint32Array): number {
  let matched = before;
  while (matched > 0 && wanted.charCodeAt(matched) !== unit) matched = borders[matched - 1] ?? 0;
  return wanted.charCodeAt(matched) === unit ? matched + 1 : matched;
}
