import { shortened } from "../../../base/truncate.ts";
import { visible } from "../../../base/visible.ts";

const MAX_LINES = 20_000;
/** Characters of all lines that are compared: all else waits meanwhile. */
const MAX_COMPARED = 2 ** 20;
/** Characters of a line that are compared and shown. */
const MAX_LINE = 300;
/** Share of what two lines have in common from which on one may have been meant for the other. */
const LEAST = 0.4;

/** The line of a text that is most like the first line of what was looked for; undefined where none is. */
export function nearestLine(
  text: string,
  wanted: string,
): { readonly number: number; readonly line: string } | undefined {
  const first = wanted.split("\n").find((line) => line.trim() !== "");
  if (first === undefined) return undefined;
  const pairs = pairsOf(first);
  let best: { number: number; line: string; likeness: number } | undefined;
  let left = MAX_COMPARED;
  for (const [index, line] of text.split("\n", MAX_LINES).entries()) {
    left -= Math.min(line.length, MAX_LINE);
    if (left < 0) break;
    const likeness = likenessOf(pairs, pairsOf(line));
    if (likeness >= LEAST && likeness > (best?.likeness ?? 0)) {
      best = { number: index + 1, line: visible(shortened(line, MAX_LINE), "\t"), likeness };
    }
  }
  return best;
}

/** Neighbouring characters of a line, without the blanks, which models get wrong most often. */
function pairsOf(line: string): ReadonlySet<string> {
  const dense = line.slice(0, MAX_LINE).replace(/\s+/g, "");
  const pairs = new Set<string>(dense.length === 1 ? [dense] : []);
  for (let at = 0; at < dense.length - 1; at += 1) pairs.add(dense.slice(at, at + 2));
  return pairs;
}

/** Dice's coefficient: 1 for the same pairs, 0 for none in common. */
function likenessOf(left: ReadonlySet<string>, right: ReadonlySet<string>): number {
  const both = left.intersection(right).size;
  return both === 0 ? 0 : (2 * both) / (left.size + right.size);
}
