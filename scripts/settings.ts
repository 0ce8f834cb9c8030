import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PlacedKey } from "../src/config/keys/key.ts";
import { keysIn, keyText } from "../src/config/keys/key.ts";
import { KEYS, variableOf } from "../src/config/keys/keys.ts";

/**
 * `npm run settings`: writes the tables of docs/settings.md from the table of keys. A table stands
 * between `<!-- keys of PATH -->` and `<!-- end of keys -->`; a key stands in the table of the longest
 * path that it begins with. test/config/docs.test.ts fails when the file differs.
 */
export const SETTINGS_FILE = join(import.meta.dirname, "../docs/settings.md");

const TABLE = /<!-- keys of (\S+) -->\n[^]*?<!-- end of keys -->/g;

/** The page with its tables written anew. Throws for a key that no table holds. */
export function withTables(page: string): string {
  const bases = [...page.matchAll(TABLE)].map(([, base = ""]) => base);
  const placed = keysIn(KEYS).map((key) => ({ key, base: baseOf(key, bases) }));
  return page.replace(TABLE, (_, base: string) => {
    const rows = placed.filter((one) => one.base === base).map(({ key }) => cellsOf(key, base));
    const table = aligned([["key", "default", "meaning", "flag and variable"], ...rows]);
    return `<!-- keys of ${base} -->\n\n${table}\n\n<!-- end of keys -->`;
  });
}

function baseOf(key: PlacedKey, bases: readonly string[]): string {
  const path = keyText(key.path);
  const found = bases
    .filter((base) => path.startsWith(`${base}.`))
    .toSorted((left, right) => right.length - left.length)[0];
  if (found === undefined) throw new Error(`no table of docs/settings.md holds ${path}`);
  return found;
}

function cellsOf(placed: PlacedKey, base: string): string[] {
  const { doc, shown, flag } = placed.key;
  const variable = variableOf(placed);
  const ways = [flag && `\`--${flag}\``, variable && `\`${variable}\``].filter(Boolean);
  return [`\`${keyText(placed.path).slice(base.length + 1)}\``, shown, doc, ways.join(" ")];
}

/** As oxfmt writes a table. */
function aligned([head = [], ...rows]: readonly string[][]): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? "").length)));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}

if (import.meta.main) {
  writeFileSync(SETTINGS_FILE, withTables(readFileSync(SETTINGS_FILE, "utf8")));
}
