/** Where a text stops being JSON. No word of it is taken from the text but punctuation. */
interface JsonFault {
  readonly line: number;
  readonly column: number;
  readonly found: string;
  readonly expected: string;
}

const BLANK = /(?:\s+|\/\/[^\n\r]*|\/\*[^]*?\*\/)*/y;
const STRING = /"[^"\\]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\]*)*"/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.+-])/y;
const WORD = /(?:true|false|null)(?!\w)/y;

/** What the text may go on with. */
type State = "value" | "value or ]" | "key or }" | "colon" | "more" | "end";

/** Reads a text as far as it is JSON with comments; undefined where it finds no fault. */
export function explainJson(text: string): JsonFault | undefined {
  const open: { readonly bracket: "{" | "["; readonly at: number }[] = [];
  let state: State = "value";
  for (let at = skip(BLANK, text, 0); ; at = skip(BLANK, text, at)) {
    const end: number | undefined = tokenEnd(text, at, state, open.at(-1)?.bracket);
    if (end === undefined) return faultAt(text, at, expectedIn(state, open.at(-1), text));
    if (at === text.length) return undefined;
    state = stateAfter(text[at] ?? "", at, state, open);
    at = end;
  }
}

type Open = { readonly bracket: "{" | "["; readonly at: number };

/** Where the token that is allowed here ends; undefined where something else stands there. */
function tokenEnd(
  text: string,
  at: number,
  state: State,
  bracket: Open["bracket"] | undefined,
): number | undefined {
  if (at === text.length) return state === "end" ? at : undefined;
  const signs: Readonly<Record<State, string>> = {
    end: "",
    colon: ":",
    more: `,${closing(bracket)}`,
    "key or }": "}",
    "value or ]": "]{[",
    value: "{[",
  };
  if (signs[state].includes(text[at] ?? "")) return at + 1;
  if (state === "key or }") return match(STRING, text, at);
  if (state !== "value" && state !== "value or ]") return undefined;
  return match(STRING, text, at) ?? match(NUMBER, text, at) ?? match(WORD, text, at);
}

function stateAfter(character: string, at: number, state: State, open: Open[]): State {
  if (state === "colon") return "value";
  if (character === "{" || character === "[") {
    open.push({ bracket: character, at });
    return character === "{" ? "key or }" : "value or ]";
  }
  if (character === ",") return open.at(-1)?.bracket === "{" ? "key or }" : "value or ]";
  if (character === "}" || character === "]") open.pop();
  else if (state === "key or }") return "colon";
  return open.length === 0 ? "end" : "more";
}

function expectedIn(state: State, open: Open | undefined, text: string): string {
  const close = `${closing(open?.bracket) ?? ""} (for line ${lineAt(text, open?.at ?? 0)})`;
  const expected: Readonly<Record<State, string>> = {
    colon: "a colon after the key",
    end: "the end of the file",
    more: `a comma or ${close}`,
    "key or }": `a key in double quotes or ${close}`,
    "value or ]": `a value or ${close}`,
    value: "a value",
  };
  return expected[state];
}

function faultAt(text: string, at: number, expected: string): JsonFault {
  const before = text.slice(0, at);
  const column = at - before.lastIndexOf("\n");
  return { line: lineAt(text, at), column, found: nameOf(text[at]), expected };
}

/** A name for what stands there that tells nothing of a secret. */
function nameOf(character: string | undefined): string {
  if (character === undefined) return "the end of the file";
  if (/[{}[\]:,]/.test(character)) return character;
  if (character === '"') return "a text";
  if (character === "'") return "a single quote";
  if (/[\d+.-]/.test(character)) return "a number";
  return /\w/.test(character) ? "a word without quotes" : "another character";
}

function closing(bracket: Open["bracket"] | undefined): string | undefined {
  return bracket === undefined ? undefined : bracket === "{" ? "}" : "]";
}

function lineAt(text: string, at: number): number {
  return text.slice(0, at).split("\n").length;
}

function skip(pattern: RegExp, text: string, at: number): number {
  return match(pattern, text, at) ?? at;
}

function match(pattern: RegExp, text: string, at: number): number | undefined {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : undefined;
}
