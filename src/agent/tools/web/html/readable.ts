import { setImmediate } from "node:timers/promises";
import { tokensOf } from "./tokens.ts";
import type { Attributes, Token } from "./tokens.ts";
import { createWriter } from "./writer.ts";
import type { Writer } from "./writer.ts";

/** A page as text. */
export interface Readable {
  /** "" if the page has none. */
  readonly title: string;
  readonly text: string;
}

export interface ReadableOptions {
  readonly format: "plaintext" | "markdown";
  /** The base URL of relative links. */
  readonly base: URL;
  /** Characters after which reading stops. */
  readonly most: number;
}

/** Elements without readable text. */
const UNREADABLE: ReadonlySet<string> = new Set(
  "script style template svg canvas iframe object noembed noframes math select textarea audio video dialog".split(
    " ",
  ),
);

/** Elements around the content; shown only if a page has nothing else. */
const SURROUNDINGS: ReadonlySet<string> = new Set("nav footer aside form button menu".split(" "));

/** Milliseconds after which reading yields to other work: a page may have 10 MB. */
const YIELD_MS = 8;

/** The readable text of a page: its headings, paragraphs, lists and tables as plain lines. */
export async function readableOf(html: string, options: ReadableOptions): Promise<Readable> {
  const page = await read(html, options, SURROUNDINGS);
  return page.text === "" ? await read(html, options, new Set()) : page;
}

interface State {
  readonly writer: Writer;
  readonly around: ReadonlySet<string>;
  /** The element whose content is being skipped, and how deep it is nested in itself. */
  dropped?: { readonly name: string; depth: number } | undefined;
  inTitle: boolean;
  /** Titles so far. The first is the title of the page; drawings have titles too. */
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
  let yieldedAt = performance.now();
  for (const token of tokensOf(html)) {
    take(token, state);
    if (writer.length() > options.most) break;
    if (performance.now() - yieldedAt < YIELD_MS) continue;
    await setImmediate();
    yieldedAt = performance.now();
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
    // A new paragraph follows.
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

/** Elements whose end tag is optional or missing: they cannot be skipped up to their end tag. */
const OPEN =
  /^(?:area|base|body|br|col|dd|dt|embed|head|hr|html|img|input|li|link|meta|option|p|source|tbody|td|tfoot|th|thead|tr|track|wbr)$/;

function isDropped(name: string, attributes: Attributes, around: ReadonlySet<string>): boolean {
  if (UNREADABLE.has(name) || around.has(name)) return true;
  return isHidden(attributes) && (!OPEN.test(name) || name === "p");
}

/**
 * Inline styles that hide an element from people. Text in the colour of its background, and text that a
 * style sheet hides, is not detected.
 */
const HIDDEN_STYLE =
  /(?:^|[;\s])(?:display\s*:\s*none|(?:content-)?visibility\s*:\s*(?:hidden|collapse)|(?:opacity|font-size|zoom)\s*:\s*(?:0|0?\.0+|0\.)(?:px|r?em|ex|pt|%|v[hw])?\s*(?:!important\s*)?(?:;|$)|(?:left|right|top|text-indent)\s*:\s*-(?:\d{4,}|\d{3,}(?:r?em|v[hw]|%))|transform\s*:\s*scale\(\s*0\s*\)|clip\s*:\s*rect\(\s*0|clip-path\s*:\s*inset\(\s*(?:50|100)%)/i;
/** Characters of a style that are checked. */
const MAX_STYLE = 1000;

function isHidden(attributes: Attributes): boolean {
  return (
    attributes.has("hidden") ||
    attributes.get("aria-hidden") === "true" ||
    HIDDEN_STYLE.test((attributes.get("style") ?? "").slice(0, MAX_STYLE))
  );
}

/** A paragraph without an end tag ends where another block begins, or where its parent ends. */
function endsParagraph(token: Exclude<Token, { readonly kind: "text" }>): boolean {
  return BLOCK.test(token.name) && !(token.kind === "end" && token.name === "p");
}

const BLOCK =
  /^(?:address|article|aside|blockquote|body|dd|details|div|dl|dt|fieldset|figure|footer|form|h[1-6]|header|hr|li|main|menu|nav|ol|p|pre|section|table|td|th|ul)$/;

/** HTML (a title, a snippet) as one line of text. */
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

/** Control characters removed, and runs of blanks replaced by one. */
function plainLine(text: string): string {
  return text.replaceAll(/[\s\p{Cc}]+/gu, " ").trim();
}
