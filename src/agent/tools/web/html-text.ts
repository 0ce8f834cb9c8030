import { setImmediate } from "node:timers/promises";
import { Tokenizer } from "htmlparser2";

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

interface PageState {
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
  const writer = new Writer(options);
  const state: PageState = { writer, around, inTitle: false, titles: 0, title: "" };
  let yieldedAt = performance.now();
  for (const token of tokensOf(html)) {
    handleToken(token, state);
    if (writer.length > options.most) break;
    if (performance.now() - yieldedAt < YIELD_MS) continue;
    await setImmediate();
    yieldedAt = performance.now();
  }
  return { title: plainLine(state.title), text: writer.text() };
}

function handleToken(token: Token, state: PageState): void {
  if (token.kind === "text") return handleText(token.text, state);
  if (token.name === "title") {
    state.inTitle = token.kind === "start";
    if (state.inTitle && state.dropped === undefined) state.titles += 1;
    return;
  }
  if (state.dropped?.name === "p" && endsParagraph(token)) state.dropped = undefined;
  if (state.dropped !== undefined) return trackDropped(state.dropped, token, state);
  if (token.kind === "end") return state.writer.end(token.name);
  if (isDropped(token.name, token.attributes, state.around)) {
    state.dropped = { name: token.name, depth: 1 };
    // A new paragraph follows.
    if (token.name === "p") state.writer.end(token.name);
    return;
  }
  state.writer.start(token.name, token.attributes);
}

function handleText(text: string, state: PageState): void {
  if (state.dropped !== undefined) return;
  if (!state.inTitle) state.writer.write(text);
  else if (state.titles === 1) state.title = `${state.title}${text}`.slice(0, 1000);
}

function trackDropped(
  dropped: { readonly name: string; depth: number },
  token: Exclude<Token, { readonly kind: "text" }>,
  state: PageState,
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

/** Elements with a blank line around them, and those with a line of their own. */
const PARAGRAPHS =
  /^(?:address|article|blockquote|body|details|dl|fieldset|figure|footer|form|h[1-6]|header|hr|main|nav|ol|p|pre|section|table|ul)$/;
const LINES =
  /^(?:aside|br|caption|dd|div|dt|figcaption|legend|li|option|summary|tbody|tfoot|thead|tr)$/;

const MAX_DEPTH = 20;
const MAX_LINK = 1000;
const MAX_HELD = 200;

/** Writes elements as lines of text. */
class Writer {
  readonly #isMarkdown: boolean;
  readonly #base: URL;
  readonly #pieces: string[] = [];
  /** Characters so far. */
  length = 0;
  /** Newlines to write before the next word. */
  #newlines = 0;
  /** Whether to write a blank before the next word. */
  #blank = false;
  /** Text before the next word: a bullet, the marks of a heading. */
  #prefix = "";
  /** Depth of nested `pre` elements. */
  #verbatim = 0;
  /** Blanks and line breaks in `pre` before the next word. */
  #held = "";
  /** `pre` has just begun: HTML ignores a line break here. */
  #isFresh = false;
  /** The open lists; a count for numbered ones. */
  readonly #lists: (number | undefined)[] = [];
  /** The open links; "" for those that are not shown. */
  readonly #links: string[] = [];

  constructor({ format, base }: Pick<ReadableOptions, "format" | "base">) {
    this.#isMarkdown = format === "markdown";
    this.#base = base;
  }

  text(): string {
    return this.#pieces.join("");
  }

  start(name: string, attributes: Attributes): void {
    this.#breakLines(name);
    if (this.#isMarkdown && /^h[1-6]$/.test(name)) {
      this.#prefix = `${"#".repeat(Number(name[1]))} `;
    } else if (this.#isMarkdown && name === "a") this.#openLink(attributes);
    else this.#startElement(name, attributes);
  }

  end(name: string): void {
    if (this.#isMarkdown && name === "a") this.#closeLink();
    else this.#endElement(name);
    this.#breakLines(name);
  }

  write(text: string): void {
    if (this.#verbatim > 0) return this.#writeVerbatim(text);
    const words = text.replaceAll(/[\s\u00a0\u00ad]+/g, " ");
    const plain = words.trim();
    if (words.startsWith(" ")) this.#blank = true;
    if (plain === "") return;
    this.#append(`${this.#textBefore()}${plain}`);
    this.#blank = words.endsWith(" ");
  }

  #breakLines(name: string): void {
    // A list or a paragraph in a list has no blank lines around it.
    const isInList = this.#lists.length > 0 && /^(?:[ou]l|p)$/.test(name);
    if (PARAGRAPHS.test(name)) this.#newlines = Math.max(this.#newlines, isInList ? 1 : 2);
    else if (LINES.test(name)) this.#newlines = Math.max(this.#newlines, 1);
    else return;
    this.#blank = false;
  }

  #startElement(name: string, attributes: Attributes): void {
    const lists = this.#lists;
    if (/^[ou]l$/.test(name) && lists.length < MAX_DEPTH) lists.push(name === "ol" ? 0 : undefined);
    if (name === "li") this.#prefix = this.#bullet();
    if (name === "pre") {
      this.#verbatim += 1;
      this.#isFresh = true;
    }
    // Not before the first cell of a row.
    if (/^t[dh]$/.test(name) && this.#newlines === 0 && this.length > 0) this.#prefix = " | ";
    const picture = name === "img" ? (attributes.get("alt") ?? "") : "";
    if (picture.trim() !== "") this.write(`[image: ${picture}]`);
  }

  #bullet(): string {
    const lists = this.#lists;
    const indent = "  ".repeat(Math.max(0, lists.length - 1));
    const count = lists.at(-1);
    if (count === undefined) return `${indent}- `;
    lists[lists.length - 1] = count + 1;
    return `${indent}${count + 1}. `;
  }

  #endElement(name: string): void {
    if (name === "ul" || name === "ol") this.#lists.pop();
    if (name === "pre") {
      this.#verbatim = Math.max(0, this.#verbatim - 1);
      this.#held = "";
    }
    if (name === "li" || /^h[1-6]$/.test(name)) this.#prefix = "";
  }

  #openLink(attributes: Attributes): void {
    const target = attributes.get("href")?.trim() ?? "";
    const url = /^(?:#|$)/.test(target) ? null : URL.parse(target, this.#base.href);
    const isShown = url !== null && /^https?:$/.test(url.protocol) && url.href.length <= MAX_LINK;
    if (this.#links.length >= MAX_DEPTH) return;
    this.#links.push(isShown ? url.href.replaceAll("(", "%28").replaceAll(")", "%29") : "");
    if (isShown) this.#prefix += "[";
  }

  #closeLink(): void {
    const url = this.#links.pop() ?? "";
    if (url === "") return;
    // A link without text is left out.
    if (this.#prefix.endsWith("[")) this.#prefix = this.#prefix.slice(0, -1);
    else this.#append(`](${url})`);
  }

  /** Holds back blanks and line breaks at the end until text follows: the end of the element drops them. */
  #writeVerbatim(text: string): void {
    const lines = text.replaceAll("\r\n", "\n");
    const fresh = this.#isFresh ? lines.replace(/^\n/, "") : lines;
    const words = fresh.trimEnd();
    this.#isFresh = false;
    if (words !== "") this.#append(`${this.#textBefore()}${this.#held}${words}`);
    const held = words === "" ? this.#held : "";
    this.#held = `${held}${fresh.slice(words.length)}`.slice(0, MAX_HELD);
  }

  /** The text between the last word and the next one. */
  #textBefore(): string {
    const gap = this.#newlines > 0 ? "\n".repeat(this.#newlines) : this.#blank ? " " : "";
    const text = `${this.length === 0 ? "" : gap}${this.#prefix}`;
    this.#newlines = 0;
    this.#blank = false;
    this.#prefix = "";
    return text;
  }

  #append(text: string): void {
    this.#pieces.push(text);
    this.length += text.length;
  }
}

/** The parts of HTML that its text depends on; comments and declarations are left out. */
export type Token =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "start"; readonly name: string; readonly attributes: Attributes }
  | { readonly kind: "end"; readonly name: string };

type Attributes = ReadonlyMap<string, string>;

/** Characters that are read at a time. No text is longer, so the caller can pause between two texts. */
const PIECE = 16_384;
const MAX_NAME = 40;
const MAX_ATTRIBUTES = 50;
/** Characters of one attribute's value; the rest is left out. */
const MAX_VALUE = 20_000;

const ignore = (): void => {};

/** The tokens of a page, in one pass and in time proportional to its length, however malformed it is. */
export function* tokensOf(html: string): Generator<Token> {
  let tokens: Token[] = [];
  let name = "";
  let attributes = new Map<string, string>();
  let key = "";
  let value = "";
  const extendValue = (text: string): void => {
    if (value.length < MAX_VALUE) value += text.slice(0, MAX_VALUE - value.length);
  };
  const onStart = (): void => void tokens.push({ kind: "start", name, attributes });
  const tokenizer = new Tokenizer(
    {},
    {
      ontext: (start, end) => void tokens.push({ kind: "text", text: html.slice(start, end) }),
      ontextentity: (code) => void tokens.push({ kind: "text", text: String.fromCodePoint(code) }),
      onopentagname(start, end) {
        name = nameAt(html, start, end);
        attributes = new Map();
      },
      onattribname(start, end) {
        key = nameAt(html, start, end);
        value = "";
      },
      onattribdata: (start, end) => extendValue(html.slice(start, end)),
      onattribentity: (code) => extendValue(String.fromCodePoint(code)),
      onattribend() {
        if (attributes.size < MAX_ATTRIBUTES && !attributes.has(key)) attributes.set(key, value);
      },
      onopentagend: onStart,
      onselfclosingtag: onStart,
      onclosetag: (start, end) => void tokens.push({ kind: "end", name: nameAt(html, start, end) }),
      oncdata: ignore,
      oncomment: ignore,
      ondeclaration: ignore,
      onprocessinginstruction: ignore,
      onend: ignore,
    },
  );
  for (let at = 0; at < html.length; at += PIECE) {
    tokenizer.write(html.slice(at, at + PIECE));
    yield* tokens;
    tokens = [];
  }
  tokenizer.end();
  yield* tokens;
}

function nameAt(html: string, start: number, end: number): string {
  return html.slice(start, Math.min(end, start + MAX_NAME)).toLowerCase();
}
