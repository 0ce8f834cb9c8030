import { decodeEntities } from "./entities.ts";

/** What HTML is made of, as far as its text goes; comments and declarations are none of it. */
export type Token =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "start"; readonly name: string; readonly attributes: Attributes }
  | { readonly kind: "end"; readonly name: string };

export type Attributes = ReadonlyMap<string, string>;

/** Elements whose content is no markup: it ends at their own end tag alone. */
const RAW: ReadonlySet<string> = new Set([
  "script",
  "style",
  "title",
  "textarea",
  "iframe",
  "noembed",
  "noframes",
  "xmp",
]);

/** Raw elements in whose text entities count all the same. */
const WITH_ENTITIES: ReadonlySet<string> = new Set(["title", "textarea"]);

/** Characters of one text: a page that is nothing else comes in pieces, between which there is time. */
const MAX_TEXT = 16_384;
/** Characters of the longest entity that is known. */
const MAX_ENTITY = 12;
/** Characters of one tag; what is longer is cut there, so that a page cannot be one endless tag. */
const MAX_TAG = 20_000;
const MAX_ATTRIBUTES = 50;

/** The tokens of a page, in one pass and in time proportional to its length, however wrong it is. */
export function* tokensOf(html: string): Generator<Token> {
  let at = 0;
  while (at < html.length) {
    const open = html.indexOf("<", at);
    const end = open === -1 ? html.length : open;
    yield* textsOf(html, at, end, decodeEntities);
    if (open === -1) return;
    const tag = tagAt(html, open);
    if (tag.token !== undefined) yield tag.token;
    at = tag.end;
    if (tag.token?.kind !== "start" || !RAW.has(tag.token.name)) continue;
    const { name } = tag.token;
    const close = endOfRaw(html, at, name);
    yield* textsOf(html, at, close, WITH_ENTITIES.has(name) ? decodeEntities : asItIs);
    yield { kind: "end", name };
    at = close;
  }
}

function* textsOf(
  html: string,
  start: number,
  end: number,
  decode: (text: string) => string,
): Generator<Token> {
  for (let at = start; at < end;) {
    const to = at + MAX_TEXT < end ? wholeEnd(html, at + MAX_TEXT) : end;
    yield { kind: "text", text: decode(html.slice(at, to)) };
    at = to;
  }
}

function asItIs(text: string): string {
  return text;
}

/** At most there, and neither in an entity nor between the halves of a character. */
function wholeEnd(html: string, end: number): number {
  const entity = html.lastIndexOf("&", end - 1);
  if (entity > end - MAX_ENTITY) return entity;
  return /[\ud800-\udbff]/.test(html.charAt(end - 1)) ? end - 1 : end;
}

interface Tag {
  readonly token?: Token;
  /** Where the next token begins. */
  readonly end: number;
}

function tagAt(html: string, open: number): Tag {
  const next = html[open + 1] ?? "";
  if (/[a-z]/i.test(next)) return startTag(html, open);
  if (next === "!" || next === "?") return { end: endOfDeclaration(html, open) };
  if (next !== "/") return { token: { kind: "text", text: "<" }, end: open + 1 };
  const close = html.indexOf(">", open);
  const end = close === -1 ? html.length : close + 1;
  const name = /^[a-z][a-z0-9:-]*/i.exec(html.slice(open + 2, open + 42))?.[0].toLowerCase();
  return name === undefined ? { end } : { token: { kind: "end", name }, end };
}

function endOfDeclaration(html: string, open: number): number {
  const [start, mark] = html.startsWith("<!--", open) ? [open + 4, "-->"] : [open + 2, ">"];
  if (mark === "-->" && (html[start] === ">" || html.startsWith("->", start))) {
    return html.indexOf(">", start) + 1;
  }
  const close = html.indexOf(mark, start);
  return close === -1 ? html.length : close + mark.length;
}

/** Reads up to the `>` that lies in no quotes; an attribute that is never closed ends with the tag. */
function startTag(html: string, open: number): Tag {
  const text = html.slice(open + 1, open + 1 + MAX_TAG);
  const name = /^[^\s/>]+/.exec(text)?.[0] ?? "";
  const attributes = new Map<string, string>();
  const pattern = /[\s/]*(?:(>)|([^\s/>=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+)))?|["'=])/y;
  pattern.lastIndex = name.length;
  for (;;) {
    const before = pattern.lastIndex;
    const found = pattern.exec(text);
    if (found === null)
      return { token: startOf(name, attributes), end: afterTag(html, open, before) };
    const [, close, key, quoted, single, bare] = found;
    if (close !== undefined) {
      return { token: startOf(name, attributes), end: open + 1 + pattern.lastIndex };
    }
    if (key === undefined || attributes.size >= MAX_ATTRIBUTES) continue;
    const lower = key.toLowerCase();
    const value = quoted ?? single ?? bare ?? "";
    if (!attributes.has(lower)) attributes.set(lower, decodeEntities(value));
  }
}

function startOf(name: string, attributes: Attributes): Token {
  return { kind: "start", name: name.toLowerCase().slice(0, 40), attributes };
}

function afterTag(html: string, open: number, read: number): number {
  const close = html.indexOf(">", open + 1 + read);
  return close === -1 ? html.length : close + 1;
}

/** Where `</name` stands; the end of the page where it never does. */
function endOfRaw(html: string, start: number, name: string): number {
  const pattern = new RegExp(`</${name}(?=[\\s/>])`, "gi");
  pattern.lastIndex = start;
  return pattern.exec(html)?.index ?? html.length;
}
