import { Tokenizer } from "htmlparser2";

/** The parts of HTML that its text depends on; comments and declarations are left out. */
export type Token =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "start"; readonly name: string; readonly attributes: Attributes }
  | { readonly kind: "end"; readonly name: string };

export type Attributes = ReadonlyMap<string, string>;

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
  const startElement = (): void => void tokens.push({ kind: "start", name, attributes });
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
      onopentagend: startElement,
      onselfclosingtag: startElement,
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
