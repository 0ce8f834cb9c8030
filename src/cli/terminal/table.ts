import type { Output } from "../../base/host.ts";
import { columnsOf } from "./width.ts";

/** Plain cells as a table on a terminal, else a line with tabs for each row. */
export function listing(
  { isTTY, columns }: Output,
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  return isTTY ? table(head, rows, columns) : rows.map((row) => `${row.join("\t")}\n`).join("");
}

/**
 * A table for people: columns of equal width under their names, in plain cells. Where it is wider than the terminal,
 * each row is the first cell, and under it a line for each other cell that is not empty.
 */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  columns: number,
): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) =>
    Math.max(...all.map((row) => columnsOf(row[column] ?? ""))),
  );
  const width = widths.reduce((sum, one) => sum + one + GAP.length, -GAP.length);
  const isWide = width > columns && rows.length > 0;
  const lines = isWide
    ? rows.flatMap((row) => recordOf(head, row))
    : all.map((row) => row.map((cell, column) => padded(cell, widths[column] ?? 0)).join(GAP));
  return lines.map((line) => `${line.trimEnd()}\n`).join("");
}

const GAP = "  ";

function recordOf(
  [, ...names]: readonly string[],
  [first = "", ...cells]: readonly string[],
): readonly string[] {
  const width = Math.max(...names.map((name) => columnsOf(name)));
  const others = names.flatMap((name, index) => {
    const cell = cells[index] ?? "";
    return cell === "" ? [] : [`${GAP}${padded(name, width)}${GAP}${cell}`];
  });
  return [first, ...others];
}

function padded(text: string, width: number): string {
  return text + " ".repeat(Math.max(0, width - columnsOf(text)));
}
