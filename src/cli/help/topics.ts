import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type PlacedKey, keysIn, keyText, withoutMarkdown } from "../../config/keys/key.ts";
import { KEYS, keysWithVariables } from "../../config/keys/keys.ts";
import type { Block, Row } from "./page.ts";

/** A page of `help` besides commands, made from the tables of the program and from its documentation. */
export async function topicBlocks(topic: string): Promise<readonly Block[]> {
  if (topic === "settings") return settings();
  if (topic === "environment") return environment();
  const pages = await ownPages();
  return markdownBlocks(topic === "json" ? pages.json : pages.wire);
}

function settings(): readonly Block[] {
  const byRoot = Map.groupBy(keysIn(KEYS), ({ path }) => path[0] ?? "");
  return [
    "The keys of config.json. Where <name> stands, write the name of a channel, a model or a profile. picoclaw config show --origin prints what holds, picoclaw config set changes it.",
    ...[...byRoot].map(([title, keys]) => ({ title, rows: keys.map(settingRow) })),
  ];
}

function settingRow({ path, key: { doc, shown } }: PlacedKey): Row {
  const otherwise = shown === "–" ? "" : ` Default: ${withoutMarkdown(shown)}.`;
  return [keyText(path), `${withoutMarkdown(doc)}${otherwise}`];
}

/** Variables that are no keys. */
const VARIABLES: readonly Row[] = [
  ["PICOCLAW_HOME", "The home folder. Default: ~/.picoclaw."],
  ["PICOCLAW_CONFIG", "The configuration file. Default: config.json in the home folder."],
  ["PICOCLAW_KEY_PASSPHRASE", "The passphrase of enc:// values."],
  ["PICOCLAW_SSH_KEY_PATH", "The SSH key that enc:// values of the Go program need as well."],
  ["CREDENTIALS_DIRECTORY", "Where systemd puts credentials; cred://NAME reads them."],
  [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "Where the gateway sends traces, by OTLP over HTTP; further OTEL_ variables are in docs/monitoring.md.",
  ],
  ["NO_COLOR", "Prints without colours, if it is not empty."],
];

function environment(): readonly Block[] {
  const rows = keysWithVariables().map(({ name, path, key }): Row => {
    return [name, `${keyText(path)}: ${withoutMarkdown(key.doc)}`];
  });
  return [
    "A variable wins over the files, and a flag wins over it. An empty variable counts as unset. Those of channels set the key of every mqtt channel.",
    { title: "Variables", rows: VARIABLES },
    { title: "Variables that set a key", rows },
  ];
}

interface Pages {
  readonly json: string;
  readonly wire: string;
}

/** Set only by `scripts/build.ts`. */
declare const PICOCLAW_PAGES: Pages | undefined;

async function ownPages(): Promise<Pages> {
  if (typeof PICOCLAW_PAGES === "object") return PICOCLAW_PAGES;
  return readPages(join(import.meta.dirname, "../../.."));
}

/** The pages in a folder with the sources of this program. */
export async function readPages(root: string): Promise<Pages> {
  const json = await readFile(join(root, "docs/json.md"), "utf8");
  const readme = await readFile(join(root, "README.md"), "utf8");
  const wire = /^## The wire\n[^]*?(?=^## )/m.exec(readme)?.[0] ?? "";
  return { json, wire };
}

/** Paragraphs, headings, tables and code of Markdown as this project writes it. */
export function markdownBlocks(markdown: string): readonly Block[] {
  const parts = markdown.trim().split(/\n{2,}/);
  const blocks: Block[] = [];
  let title = "";
  for (const part of joinedCode(parts)) {
    const heading = /^#+ (.*)$/.exec(part)?.[1];
    const rows = rowsOf(part);
    if (heading !== undefined) title = withoutMarkdown(heading);
    else {
      if (rows !== undefined) blocks.push({ title: title || titleOf(part), rows });
      else if (title !== "") blocks.push({ title, rows: [] });
      if (rows === undefined) blocks.push(withoutMarkdown(part.replaceAll("\n", " ")));
      title = "";
    }
  }
  return blocks;
}

/** Code may have blank lines. */
function joinedCode(parts: readonly string[]): readonly string[] {
  const joined: string[] = [];
  for (const part of parts) {
    const last = joined.at(-1);
    const isOpen = last?.startsWith("```") === true && !last.slice(3).includes("```");
    if (isOpen) joined[joined.length - 1] = `${last}\n\n${part}`;
    else joined.push(part);
  }
  return joined;
}

/** What the first column of a table holds; "" for code. */
function titleOf(part: string): string {
  if (!part.startsWith("|")) return "";
  const word = withoutMarkdown(part.split("|")[1]?.trim() ?? "");
  return `${word.charAt(0).toUpperCase()}${word.slice(1)}`;
}

/** The rows of a table, or the lines of code; undefined for a paragraph. */
function rowsOf(part: string): readonly Row[] | undefined {
  const lines = part.split("\n");
  if (part.startsWith("```")) return lines.slice(1, -1).map((line): Row => [line, ""]);
  if (!part.startsWith("|")) return undefined;
  return lines.slice(2).map((line): Row => {
    const [left = "", ...rest] = line
      .split("|")
      .slice(1, -1)
      .map((cell) => withoutMarkdown(cell.trim()));
    return [left, rest.join("; ")];
  });
}
