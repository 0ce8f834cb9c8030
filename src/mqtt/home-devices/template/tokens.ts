/** A piece of a template: text as it is, a mark (`{{`, `}}`, `{%`, `%}`), or a part of an expression. */
export interface Token {
  readonly type: "text" | "mark" | "number" | "string" | "name" | "symbol";
  readonly text: string;
}

const PART =
  /\s*(?:(\d+(?:\.\d+)?)|'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([A-Za-z_]\w*)|(==|!=|<=|>=|\/\/|[-+*/%~<>()[\]{},.:|=]))/y;
const END = { "{{": /\s*-?\}\}/y, "{%": /\s*-?%\}/y } as const;
const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r" };

/** The tokens of a template. Throws if it is none. */
export function tokensOf(template: string): readonly Token[] {
  const tokens: Token[] = [];
  let from = 0;
  while (from < template.length) {
    const start = /\{[{%#]/.exec(template.slice(from));
    const text = template.slice(from, start === null ? undefined : from + start.index);
    if (text !== "") tokens.push({ type: "text", text });
    if (start === null) break;
    const [mark] = start;
    from += start.index + mark.length;
    if (mark === "{#") {
      const end = template.indexOf("#}", from);
      if (end === -1) throw new Error("a comment without an end");
      from = end + 2;
    } else from = readInside(template, from, mark === "{{" ? "{{" : "{%", tokens);
  }
  return tokens;
}

/** Reads from after a mark to after the mark that ends it, and returns where that is. */
function readInside(template: string, start: number, mark: "{{" | "{%", tokens: Token[]): number {
  tokens.push({ type: "mark", text: mark });
  const end = END[mark];
  // A minus that takes blanks away: those around a value are cut off anyway.
  let from = template[start] === "-" ? start + 1 : start;
  let open = 0;
  for (;;) {
    end.lastIndex = from;
    if (open === 0 && end.test(template)) {
      tokens.push({ type: "mark", text: mark === "{{" ? "}}" : "%}" });
      return end.lastIndex;
    }
    PART.lastIndex = from;
    const part = PART.exec(template);
    if (part === null) throw new Error("an expression without an end");
    const token = tokenOf(part);
    tokens.push(token);
    if (token.type === "symbol") open += nesting(token.text);
    from = PART.lastIndex;
  }
}

function nesting(symbol: string): number {
  if ("([{".includes(symbol)) return 1;
  return ")]}".includes(symbol) ? -1 : 0;
}

function tokenOf([, number, single, double, name, symbol]: RegExpExecArray): Token {
  if (number !== undefined) return { type: "number", text: number };
  if (name !== undefined) return { type: "name", text: name };
  if (symbol !== undefined) return { type: "symbol", text: symbol };
  const text = (single ?? double ?? "").replaceAll(
    /\\(.)/gs,
    (_all, one: string) => ESCAPES[one] ?? one,
  );
  return { type: "string", text };
}
