import type { Attributes } from "./tokens.ts";

/** Writes elements as lines of text. */
export interface Writer {
  readonly say: (text: string) => void;
  readonly start: (name: string, attributes: Attributes) => void;
  readonly end: (name: string) => void;
  /** Characters so far. */
  readonly length: () => number;
  readonly text: () => string;
}

export interface WriterOptions {
  readonly format: "plaintext" | "markdown";
  readonly base: URL;
}

/** Elements with a blank line around them, and those with a line of their own. */
const PARAGRAPHS =
  /^(?:address|article|blockquote|body|details|dl|fieldset|figure|footer|form|h[1-6]|header|hr|main|nav|ol|p|pre|section|table|ul)$/;
const LINES =
  /^(?:aside|br|caption|dd|div|dt|figcaption|legend|li|option|summary|tbody|tfoot|thead|tr)$/;

const MAX_DEPTH = 20;
const MAX_LINK = 1000;
const MAX_HELD = 200;

interface State {
  readonly pieces: string[];
  length: number;
  /** Newlines to write before the next word. */
  newlines: number;
  /** Whether to write a blank before the next word. */
  blank: boolean;
  /** Text before the next word: a bullet, the marks of a heading. */
  prefix: string;
  /** Depth of nested `pre` elements. */
  verbatim: number;
  /** Blanks and line breaks in `pre` before the next word. */
  held: string;
  /** `pre` has just begun: HTML ignores a line break here. */
  isFresh: boolean;
  /** The open lists; a count for numbered ones. */
  readonly lists: (number | undefined)[];
  /** The open links; "" for those that are not shown. */
  readonly links: string[];
}

/** An empty writer. */
export function createWriter({ format, base }: WriterOptions): Writer {
  const state: State = {
    pieces: [],
    length: 0,
    newlines: 0,
    blank: false,
    prefix: "",
    verbatim: 0,
    held: "",
    isFresh: false,
    lists: [],
    links: [],
  };
  const isMarkdown = format === "markdown";
  return {
    say: (text) => say(text, state),
    start(name, attributes) {
      around(name, state);
      if (/^h[1-6]$/.test(name) && isMarkdown) state.prefix = `${"#".repeat(Number(name[1]))} `;
      else if (name === "a" && isMarkdown) openLink(attributes, base, state);
      else begin(name, attributes, state);
    },
    end(name) {
      if (name === "a" && isMarkdown) closeLink(state);
      else finish(name, state);
      around(name, state);
    },
    length: () => state.length,
    text: () => state.pieces.join(""),
  };
}

function around(name: string, state: State): void {
  if (PARAGRAPHS.test(name))
    state.newlines = Math.max(state.newlines, isInList(name, state) ? 1 : 2);
  else if (LINES.test(name)) state.newlines = Math.max(state.newlines, 1);
  else return;
  state.blank = false;
}

/** A list or a paragraph in a list has no blank lines around it. */
function isInList(name: string, { lists }: State): boolean {
  return lists.length > 0 && /^(?:[ou]l|p)$/.test(name);
}

function begin(name: string, attributes: Attributes, state: State): void {
  const { lists } = state;
  if (/^[ou]l$/.test(name) && lists.length < MAX_DEPTH) lists.push(name === "ol" ? 0 : undefined);
  if (name === "li") state.prefix = bullet(state);
  if (name === "pre") {
    state.verbatim += 1;
    state.isFresh = true;
  }
  // Not before the first cell of a row.
  if (/^t[dh]$/.test(name) && state.newlines === 0 && state.length > 0) state.prefix = " | ";
  const picture = name === "img" ? (attributes.get("alt") ?? "") : "";
  if (picture.trim() !== "") say(`[image: ${picture}]`, state);
}

function bullet({ lists }: State): string {
  const indent = "  ".repeat(Math.max(0, lists.length - 1));
  const count = lists.at(-1);
  if (count === undefined) return `${indent}- `;
  lists[lists.length - 1] = count + 1;
  return `${indent}${count + 1}. `;
}

function finish(name: string, state: State): void {
  if (name === "ul" || name === "ol") state.lists.pop();
  if (name === "pre") {
    state.verbatim = Math.max(0, state.verbatim - 1);
    state.held = "";
  }
  if (name === "li" || /^h[1-6]$/.test(name)) state.prefix = "";
}

function openLink(attributes: Attributes, base: URL, state: State): void {
  const target = attributes.get("href")?.trim() ?? "";
  const url = /^(?:#|$)/.test(target) ? null : URL.parse(target, base.href);
  const isShown = url !== null && /^https?:$/.test(url.protocol) && url.href.length <= MAX_LINK;
  if (state.links.length >= MAX_DEPTH) return;
  state.links.push(isShown ? url.href.replaceAll("(", "%28").replaceAll(")", "%29") : "");
  if (isShown) state.prefix += "[";
}

function closeLink(state: State): void {
  const url = state.links.pop() ?? "";
  if (url === "") return;
  // A link without text is left out.
  if (state.prefix.endsWith("[")) state.prefix = state.prefix.slice(0, -1);
  else put(`](${url})`, state);
}

function say(text: string, state: State): void {
  if (state.verbatim > 0) return sayVerbatim(text, state);
  const words = text.replaceAll(/[\s\u00a0\u00ad]+/g, " ");
  const plain = words.trim();
  if (words.startsWith(" ")) state.blank = true;
  if (plain === "") return;
  put(`${before(state)}${plain}`, state);
  state.blank = words.endsWith(" ");
}

/** Holds back blanks and line breaks at the end until text follows: the end of the element drops them. */
function sayVerbatim(text: string, state: State): void {
  const lines = text.replaceAll("\r\n", "\n");
  const fresh = state.isFresh ? lines.replace(/^\n/, "") : lines;
  const words = fresh.trimEnd();
  state.isFresh = false;
  if (words !== "") put(`${before(state)}${state.held}${words}`, state);
  state.held = `${words === "" ? state.held : ""}${fresh.slice(words.length)}`.slice(0, MAX_HELD);
}

/** The text between the last word and the next one. */
function before(state: State): string {
  const isFirst = state.length === 0;
  const gap = state.newlines > 0 ? "\n".repeat(state.newlines) : state.blank ? " " : "";
  const text = `${isFirst ? "" : gap}${state.prefix}`;
  state.newlines = 0;
  state.blank = false;
  state.prefix = "";
  return text;
}

function put(text: string, state: State): void {
  state.pieces.push(text);
  state.length += text.length;
}
