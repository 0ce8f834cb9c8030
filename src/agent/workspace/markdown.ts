import { truncate } from "../../base/truncate.ts";

/** A Markdown file: what stands between its first two lines of `---`, and the rest. */
export interface MarkdownDocument {
  /** Text or lists of texts, whatever the author wrote; only what a file names is in it. */
  readonly fields: ReadonlyMap<string, string | readonly string[]>;
  readonly body: string;
  /** Why the frontmatter was not understood in full. */
  readonly fault?: string;
}

const FRONTMATTER = /^\ufeff?---[ \t]*\n(?:([\s\S]*?)\n)?---[ \t]*(?:\n|$)/;
/** Items of one list. */
const MAX_ITEMS = 200;

/** Takes a Markdown text apart. YAML is loaded only where there is frontmatter; never throws. */
export async function documentOf(text: string): Promise<MarkdownDocument> {
  const found = FRONTMATTER.exec(text);
  if (found === null) return { fields: new Map(), body: text.trim() };
  const body = text.slice(found[0].length).trim();
  const head = found[1] ?? "";
  const { parse } = await import("yaml");
  try {
    // Plain texts stay what they are: a name `007` is no number. A list has to be one.
    const parsed: unknown = parse(head, {
      schema: "failsafe",
      uniqueKeys: false,
      logLevel: "error",
    });
    return { fields: fieldsOf(parsed), body };
  } catch {
    // Descriptions with a second `: ` in the line are common, and no YAML.
    return { fields: linesOf(head), body, fault: "its frontmatter is not YAML" };
  }
}

function fieldsOf(parsed: unknown): Map<string, string | readonly string[]> {
  const fields = new Map<string, string | readonly string[]>();
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) return fields;
  for (const [key, value] of Object.entries(parsed)) {
    const known: unknown = value;
    if (typeof known === "string" && isSaid(known)) fields.set(key, known);
    if (Array.isArray(known)) fields.set(key, textsOf(known));
  }
  return fields;
}

function textsOf(items: readonly unknown[]): string[] {
  const texts = items.filter((item) => typeof item === "string" && isSaid(item));
  return texts.slice(0, MAX_ITEMS).map(String);
}

/** `key: value` lines at the left edge, taken as they stand. */
function linesOf(head: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of head.split("\n")) {
    const [, key, value = ""] = /^([A-Za-z_]+):[ \t]*(.*)$/.exec(line) ?? [];
    const text = value.trim().replace(/^(["'])(.*)\1$/, "$2");
    if (key !== undefined && isSaid(text)) fields.set(key, text);
  }
  return fields;
}

/** YAML's spellings of nothing are nothing. */
function isSaid(text: string): boolean {
  return !/^(?:\s*|~|null)$/i.test(text);
}

/** A field as one line of at most `most` characters; undefined where it is not there. */
export function lineField(
  { fields }: MarkdownDocument,
  key: string,
  most: number,
): string | undefined {
  const value = fields.get(key);
  if (typeof value !== "string") return undefined;
  const line = value.replace(/\s+/g, " ").trim();
  return truncate(line, most);
}

/** A field as a list: a YAML list, or names with commas between them. */
export function listField(
  { fields }: MarkdownDocument,
  key: string,
): readonly string[] | undefined {
  const value = fields.get(key);
  if (value === undefined) return undefined;
  const items = typeof value === "string" ? value.split(",") : value;
  return items.map((item) => item.trim()).filter((item) => item !== "");
}

/** A text without comments, which are for people; "" where nothing but headings is left. */
export function withoutComments(text: string): string {
  const words = stripComments(text).trim();
  return /^(?!#{1,6} ).*\S/m.test(words) ? words : "";
}

/** No pattern: one would look for the end of each comment that has none, again and again. */
function stripComments(text: string): string {
  let kept = "";
  for (let from = 0; ;) {
    const open = text.indexOf("<!--", from);
    const end = open === -1 ? -1 : text.indexOf("-->", open);
    if (end === -1) return kept + text.slice(from);
    kept += text.slice(from, open);
    from = end + "-->".length;
  }
}
