import { setImmediate } from "node:timers/promises";
import { tokensOf } from "./tokens.ts";
import type { Attributes, Token } from "./tokens.ts";
import { createWriter } from "./writer.ts";
import type { Writer } from "./writer.ts";

/** A page as text. */
export interface Readable {
  /** "" where it has none. */
  readonly title: string;
  readonly text: string;
}

export interface ReadableOptions {
  readonly format: "plaintext" | "markdown";
  /** What relative links are relative to. */
  readonly base: URL;
  /** Characters after which enough was read. */
  readonly most: number;
}

/** Elements that hold nothing to read. */
const UNREADABLE: ReadonlySet<string> = new Set(
  "script style template svg canvas iframe object noembed noframes math select textarea audio video dialog".split(
    " ",
  ),
);

/** Elements around what one came to read; kept where a page has nothing else. */
const AROUND: ReadonlySet<string> = new Set("nav footer aside form button menu".split(" "));

/** Milliseconds between two breaths: a page of 10 MB must not hold up everything else. */
const BREATH_MS = 8;

/** What a person would read of a page: its headings, paragraphs, lists and tables as plain lines. */
export async function readableOf(html: string, options: ReadableOptions): Promise<Readable> {
  const page = await read(html, options, AROUND);
  return page.text === "" ? await read(html, options, new Set()) : page;
}

interface State {
  readonly writer: Writer;
  readonly around: ReadonlySet<string>;
  /** The element whose content is left out at present, and how often it stands within itself. */
  dropped?: { readonly name: string; depth: number } | undefined;
  inTitle: boolean;
  /** Only the first title is the page's: drawings have titles of their own. */
  titles: number;
  title: string;
}

async function read(
  html: string,
  options: ReadableOptions,
  around: ReadonlySet<string>,
): Promise<Readable> {
  const writer = createWriter(options);
  const state: State = { writer, around, inTitle: false, titles: 0, title: "" };
  let breathedAt = performance.now();
  for (const token of tokensOf(html)) {
    take(token, state);
    if (writer.length() > options.most) break;
    if (performance.now() - breathedAt < BREATH_MS) continue;
    await setImmediate();
    breathedAt = performance.now();
  }
  return { title: plainLine(state.title), text: writer.text() };
}

function take(token: Token, state: State): void {
  if (token.kind === "text") return takeText(token.text, state);
  if (token.name === "title") {
    state.inTitle = token.kind === "start";
    if (state.inTitle && state.dropped === undefined) state.titles += 1;
    return;
  }
  if (state.dropped?.name === "p" && endsParagraph(token)) state.dropped = undefined;
  if (state.dropped !== undefined) return within(state.dropped, token, state);
  if (token.kind === "end") return state.writer.end(token.name);
  if (isDropped(token.name, token.attributes, state.around)) {
    state.dropped = { name: token.name, depth: 1 };
    // What follows a paragraph is another one.
    if (token.name === "p") state.writer.end(token.name);
    return;
  }
  state.writer.start(token.name, token.attributes);
}

function takeText(text: string, state: State): void {
  if (state.dropped !== undefined) return;
  if (!state.inTitle) state.writer.say(text);
  else if (state.titles === 1) state.title = `${state.title}${text}`.slice(0, 1000);
}

function within(
  dropped: { readonly name: string; depth: number },
  token: Exclude<Token, { readonly kind: "text" }>,
  state: State,
): void {
  if (token.name !== dropped.name) return;
  dropped.depth += token.kind === "start" ? 1 : -1;
  if (dropped.depth === 0) state.dropped = undefined;
}

/** Elements that are never closed, or need not be: they cannot be left out up to their end. */
const OPEN =
  /^(?:area|base|body|br|col|dd|dt|embed|head|hr|html|img|input|li|link|meta|option|p|source|tbody|td|tfoot|th|thead|tr|track|wbr)$/;

function isDropped(name: string, attributes: Attributes, around: ReadonlySet<string>): boolean {
  if (UNREADABLE.has(name) || around.has(name)) return true;
  return isHidden(attributes) && (!OPEN.test(name) || name === "p");
}

/**
 * Ways of an element's own style to keep its words from people. Words in the colour of their ground, and
 * whatever a style sheet hides, are not known here.
 */
const UNSEEN =
  /(?:^|[;\s])(?:display\s*:\s*none|(?:content-)?visibility\s*:\s*(?:hidden|collapse)|(?:opacity|font-size|zoom)\s*:\s*(?:0|0?\.0+|0\.)(?:px|r?em|ex|pt|%|v[hw])?\s*(?:!important\s*)?(?:;|$)|(?:left|right|top|text-indent)\s*:\s*-(?:\d{4,}|\d{3,}(?:r?em|v[hw]|%))|transform\s*:\s*scale\(\s*0\s*\)|clip\s*:\s*rect\(\s*0|clip-path\s*:\s*inset\(\s*(?:50|100)%)/i;
/** Characters of a style that are looked at. */
const MAX_STYLE = 1000;

function isHidden(attributes: Attributes): boolean {
  return (
    attributes.has("hidden") ||
    attributes.get("aria-hidden") === "true" ||
    UNSEEN.test((attributes.get("style") ?? "").slice(0, MAX_STYLE))
  );
}

/** A paragraph need not be closed: it ends where another block begins, or the one around it ends. */
function endsParagraph(token: Exclude<Token, { readonly kind: "text" }>): boolean {
  return BLOCK.test(token.name) && !(token.kind === "end" && token.name === "p");
}

const BLOCK =
  /^(?:address|article|aside|blockquote|body|dd|details|div|dl|dt|fieldset|figure|footer|form|h[1-6]|header|hr|li|main|menu|nav|ol|p|pre|section|table|td|th|ul)$/;

/** Any HTML as one line of text: a title, a snippet. */
export function lineOf(html: string): string {
  let text = "";
  let isRaw = false;
  for (const token of tokensOf(html.slice(0, 20_000))) {
    if (token.kind === "text") text += isRaw ? "" : token.text;
    else if (UNREADABLE.has(token.name)) isRaw = token.kind === "start";
    else if (/^(?:br|p|div|li|td)$/.test(token.name)) text += " ";
  }
  return plainLine(text);
}

/** Controls are no part of a line, and blanks are one. */
function plainLine(text: string): string {
  return text.replaceAll(/[\s\p{Cc}]+/gu, " ").trim();
}
