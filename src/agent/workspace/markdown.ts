import { truncate } from "../../base/truncate.ts";

/** A Markdown file: its frontmatter between two lines of `---`, and its body. */
export interface MarkdownDocument {
  /** Texts or lists of texts, as the author wrote them. */
  readonly fields: ReadonlyMap<string, string | readonly string[]>;
  readonly body: string;
  /** Why the frontmatter was not read completely. */
  readonly fault?: string;
}

const FRONTMATTER = /^\ufeff?---[ \t]*\n(?:([\s\S]*?)\n)?---[ \t]*(?:\n|$)/;
/** Items of one list. */
const MAX_ITEMS = 200;

/** Parses a Markdown text. Loads the YAML parser only for frontmatter that needs it. Never throws. */
export async function documentOf(text: string): Promise<MarkdownDocument> {
  const found = FRONTMATTER.exec(text);
  if (found === null) return { fields: new Map(), body: text.trim() };
  const body = text.slice(found[0].length).trim();
  const head = found[1] ?? "";
  const plain = plainFieldsOf(head);
  if (plain !== undefined) return { fields: plain, body };
  const { parse } = await import("yaml");
  try {
    // Scalars stay texts: a name `007` is not a number.
    const parsed: unknown = parse(head, {
      schema: "failsafe",
      uniqueKeys: false,
      logLevel: "error",
    });
    return { fields: fieldsOf(parsed), body };
  } catch {
    // A description with a second `: ` in its line is common, but not valid YAML.
    return { fields: linesOf(head), body, fault: "its frontmatter is not YAML" };
  }
}

/** `key: text` in the part of YAML where the text means itself: no quotes, lists, comments or further lines. */
const PLAIN = /^([A-Za-z][\w-]*): +([A-Za-z](?:[!-~\u00a1-\ud7ff ]*[!-~\u00a1-\ud7ff])?)$/;
const NOT_PLAIN = /:(?: |$)| #/;

/** Frontmatter that has only plain texts, as most has: the YAML parser takes milliseconds to load. */
function plainFieldsOf(head: string): Map<string, string> | undefined {
  const fields = new Map<string, string>();
  const lines = head.split("\n");
  for (const line of lines) {
    const [, key = "", text = ""] = PLAIN.exec(line) ?? [];
    if (key === "" || NOT_PLAIN.test(text) || fields.has(key)) return undefined;
    fields.set(key, text);
  }
  for (const [key, text] of fields) if (!isPresent(text)) fields.delete(key);
  return fields;
}

function fieldsOf(parsed: unknown): Map<string, string | readonly string[]> {
  const fields = new Map<string, string | readonly string[]>();
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) return fields;
  for (const [key, value] of Object.entries(parsed)) {
    const field: unknown = value;
    if (typeof field === "string" && isPresent(field)) fields.set(key, field);
    if (Array.isArray(field)) fields.set(key, textsOf(field));
  }
  return fields;
}

function textsOf(items: readonly unknown[]): string[] {
  const texts = items.filter((item) => typeof item === "string" && isPresent(item));
  return texts.slice(0, MAX_ITEMS).map(String);
}

/** `key: value` lines at the left edge, and lists behind a key, taken as they stand. */
function linesOf(head: string): Map<string, string | readonly string[]> {
  const fields = new Map<string, string | readonly string[]>();
  let open = "";
  let items: readonly string[] = [];
  for (const line of head.split("\n")) {
    const [, item] = /^[ \t]*-[ \t]+(.*)$/.exec(line) ?? [];
    const [, key, value = ""] = /^([A-Za-z_]+):[ \t]*(.*)$/.exec(line) ?? [];
    if (key !== undefined) {
      [open, items] = [key, []];
      const [, inner] = /^\[([^\]]*)\]?$/.exec(value.trim()) ?? [];
      const field = inner === undefined ? unquoted(value) : textsOf(inner.split(",").map(unquoted));
      if (typeof field !== "string" || isPresent(field)) fields.set(key, field);
    } else if (item !== undefined && open !== "") {
      items = textsOf([...items, unquoted(item)]);
      fields.set(open, items);
    }
  }
  return fields;
}

function unquoted(text: string): string {
  return text.trim().replace(/^(["'])(.*)\1$/, "$2");
}

/** Whether a text is not one of YAML's spellings of null. */
function isPresent(text: string): boolean {
  return !/^(?:\s*|~|null)$/i.test(text);
}

/** A field as one line of at most `most` characters; undefined if it is missing. */
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

/** A field as a list: a YAML list, or names separated by commas. */
export function listField(
  { fields }: MarkdownDocument,
  key: string,
): readonly string[] | undefined {
  const value = fields.get(key);
  if (value === undefined) return undefined;
  const items = typeof value === "string" ? value.split(",") : value;
  return items.map((item) => item.trim()).filter((item) => item !== "");
}

/** A text without comments, which are for people; "" if only headings are left. */
export function withoutComments(text: string): string {
  const words = stripComments(text).trim();
  return /^(?!#{1,6} ).*\S/m.test(words) ? words : "";
}

/** No regular expression: it would search for the end of each unclosed comment again, in quadratic time. */
function stripComments(text: string): string {
  let rest = "";
  for (let from = 0; ;) {
    const open = text.indexOf("<!--", from);
    const end = open === -1 ? -1 : text.indexOf("-->", open);
    if (end === -1) return rest + text.slice(from);
    rest += text.slice(from, open);
    from = end + "-->".length;
  }
}
