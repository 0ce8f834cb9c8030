import { constants } from "node:fs";
import type { Stats } from "node:fs";
import * as v from "valibot";
import { escapeControl } from "../../../base/escape-control.ts";
import { readBytes } from "../../../base/file-io.ts";
import { truncate } from "../../../base/truncate.ts";
import type { Tool } from "../contract.ts";
import { ToolError } from "../contract.ts";
import { defineTool, textField } from "../define.ts";
import type { Bounds } from "./bounds.ts";
import { shownPath } from "./errors.ts";
import type { OpenDir, OpenFile } from "./open-dir.ts";
import { withRegular } from "./open-dir.ts";
import { withFileToWrite } from "./open-within.ts";
import { replaceFile } from "./replace-file.ts";

const input = v.object({
  path: textField("The file; relative to the workspace."),
  old_text: v.pipe(
    v.string(),
    v.minLength(1, "the text to replace is empty"),
    v.description("The text to replace, exactly as in the file."),
  ),
  new_text: v.string(),
});

/** Bytes of the largest file that the tool changes: it holds the file in memory. */
const MAX_SIZE = 10 * 1024 * 1024;

/** The tool that replaces one passage of a file. */
export function createEditFile(bounds: Bounds): Tool {
  return defineTool({
    name: "edit_file",
    description: "Replaces one passage of a text file. Give enough of it that it occurs only once.",
    input,
    exclusive: true,
    async run({ path, old_text, new_text }) {
      const change = async (dir: OpenDir, name: string): Promise<string> => {
        const { text, stats } = await withRegular(dir, name, constants.O_RDONLY, (file) =>
          wholeText(path, file),
        );
        const place = onlyPlace(path, text, old_text);
        const content = text.slice(0, place) + new_text + text.slice(place + old_text.length);
        await replaceFile(dir, name, { content, madeOf: stats });
        return `changed ${shownPath(path)} in line ${lineAt(text, place)}`;
      };
      return await withFileToWrite(path, bounds, change, "edit");
    },
  });
}

async function wholeText(
  path: string,
  { handle, stats }: OpenFile,
): Promise<{ readonly text: string; readonly stats: Stats }> {
  if (stats.size > MAX_SIZE) {
    throw new ToolError(`${shownPath(path)} has ${stats.size} bytes, too many to edit`);
  }
  const bytes = await readBytes(handle, 0, stats.size);
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return { text, stats };
  } catch (error) {
    // Decoding loses all bytes that are not UTF-8, so the first change would destroy them.
    if (error instanceof TypeError) {
      throw new ToolError(`${shownPath(path)} is no UTF-8 text and cannot be edited`);
    }
    throw error;
  }
}

/** Lines that an error names if the text occurs more than once. */
const MAX_NAMED = 10;

function onlyPlace(path: string, text: string, old: string): number {
  const { first, count } = matchesOf(text, old, MAX_NAMED);
  const [place] = first;
  if (place === undefined) throw new ToolError(`${shownPath(path)} ${whyNowhere(text, old)}`);
  if (count === 1) return place;
  const lines = first.map((found) => lineAt(text, found)).join(", ");
  throw new ToolError(
    `that text is in ${shownPath(path)} ${count} times (lines ${lines}${count > MAX_NAMED ? " …" : ""}); take more of the text around it`,
  );
}

function whyNowhere(text: string, old: string): string {
  const none = "does not hold that text";
  if (old.includes("\n") && matchesOf(text.replaceAll("\r\n", "\n"), old, 1).count > 0) {
    return `${none}: its lines end with \\r\\n`;
  }
  const nearest = nearestLine(text, old);
  if (nearest === undefined) return none;
  return `${none}; the nearest is line ${nearest.number}: ${nearest.line}`;
}

function lineAt(text: string, place: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at !== -1 && at < place; at = text.indexOf("\n", at + 1)) {
    line += 1;
  }
  return line;
}

/** The positions of a text in another. */
interface Matches {
  /** The first positions, in order. */
  readonly first: readonly number[];
  readonly count: number;
}

/**
 * Finds a text (not an empty one) in another, overlapping matches too. It takes time proportional to both
 * lengths (Knuth, Morris and Pratt). The search of runtimes takes the product of the lengths if letters
 * repeat: minutes for a file of megabytes.
 */
export function matchesOf(text: string, wanted: string, most: number): Matches {
  const borders = bordersOf(wanted);
  const first: number[] = [];
  let [count, matched] = [0, 0];
  for (let at = 0; at < text.length; at += 1) {
    matched = extendMatch(matched, text.charCodeAt(at), wanted, borders);
    if (matched < wanted.length) continue;
    count += 1;
    if (first.length < most) first.push(at + 1 - matched);
    matched = borders[matched - 1] ?? 0;
  }
  return { first, count };
}

/** For each prefix of a text, the length of the longest shorter prefix that is also its suffix. */
function bordersOf(wanted: string): Uint32Array {
  const borders = new Uint32Array(wanted.length);
  let matched = 0;
  for (let at = 1; at < wanted.length; at += 1) {
    matched = extendMatch(matched, wanted.charCodeAt(at), wanted, borders);
    borders[at] = matched;
  }
  return borders;
}

/** How many units of the wanted text match after one more unit, if `before` units matched. */
function extendMatch(before: number, unit: number, wanted: string, borders: Uint32Array): number {
  let matched = before;
  while (matched > 0 && wanted.charCodeAt(matched) !== unit) matched = borders[matched - 1] ?? 0;
  return wanted.charCodeAt(matched) === unit ? matched + 1 : matched;
}

const MAX_LINES = 20_000;
/** Characters of all compared lines: the comparison blocks the event loop. */
const MAX_COMPARED = 2 ** 20;
/** Characters of a line that are compared and shown. */
const MAX_LINE = 300;
/** Two lines with a lower likeness are not taken for each other. */
const LEAST = 0.4;

/** The line of a text that is most like the first line of `wanted`; undefined if no line is like it. */
function nearestLine(
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
      best = { number: index + 1, line: escapeControl(truncate(line, MAX_LINE), "\t"), likeness };
    }
  }
  return best;
}

/** Pairs of neighbouring characters of a line, without blanks, which models get wrong most often. */
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
