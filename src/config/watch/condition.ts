import type {
  ComparisonOperator,
  ConditionTerm,
  JsonPath,
  MessageCondition,
} from "../../base/contract.ts";
import { nearestWord } from "../../base/spelling.ts";

/** A condition, or the time without a message; a string says what is wrong with it. */
export type ReadCondition =
  | { readonly when: MessageCondition }
  | { readonly missingMs: number }
  | string;

const MAX_LENGTH = 512;
const MAX_TERMS = 8;
const MAX_STEPS = 16;
/** Milliseconds of a cooldown, and of a silence. */
const LEAST_MS = 10_000;
const MOST_MS = 30 * 24 * 3_600_000;
const UNITS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

const TOKENS = [
  ["operator", /==|!=|<=|>=|[<>=]/y],
  ["number", /[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.])/iy],
  ["text", /"(?:[^"\\]|\\.)*"|'[^']*'/y],
  [
    "word",
    /(?:\$|[\p{L}_][\p{L}\p{N}_-]*)(?:\.[\p{L}_][\p{L}\p{N}_-]*|\[\d{1,6}\]|\["(?:[^"\\]|\\.)*"\])*/uy,
  ],
] as const;

interface Token {
  readonly kind: (typeof TOKENS)[number][0];
  readonly text: string;
}

/** Thrown inside of this file, with what is wrong. */
class Unreadable extends Error {}

/** Reads `when`: `$.temperature > 30 and door == "open"`, `changed $.state`, `missing for 10m`, `becomes …`. */
export function readCondition(written: string): ReadCondition {
  return orFault(() => {
    const missing = /^\s*missing\s+(?:for\s+(.*)|\d.*)$/is.exec(written);
    if (missing !== null) return { missingMs: silenceOf(missing[1] ?? "") };
    if (written.length > MAX_LENGTH) throw new Unreadable(`is longer than ${MAX_LENGTH}`);
    return { when: conditionOf(new Tokens(written)) };
  });
}

/** Reads a path alone: `$.power`; a string says what is wrong with it. */
export function readPath(written: string): JsonPath | string {
  return orFault(() => {
    if (written.length > MAX_LENGTH) throw new Unreadable(`is longer than ${MAX_LENGTH}`);
    const tokens = new Tokens(written);
    const path = pathOf(tokens.take("word", "a path as $.power"));
    tokens.end();
    return path;
  });
}

/** Milliseconds of `90s`, `10m`, `2h`, `1d` or a number of seconds; undefined for other texts and out of bounds. */
export function readTime(written: string): number | undefined {
  const found = /^(\d{1,9})\s*(s|m|h|d|)$/.exec(written.trim());
  if (found === null) return undefined;
  const [, amount, unit] = found;
  const perUnit = unit === "m" || unit === "h" || unit === "d" ? UNITS[unit] : UNITS.s;
  const total = Number(amount) * perUnit;
  return total < LEAST_MS || total > MOST_MS ? undefined : total;
}

function orFault<T>(read: () => T): T | string {
  try {
    return read();
  } catch (thrown) {
    if (thrown instanceof Unreadable) return thrown.message;
    throw thrown;
  }
}

function silenceOf(written: string): number {
  const ms = readTime(written);
  if (ms !== undefined) return ms;
  throw new Unreadable("a time from 10s to 30d has to follow `missing for`, as 90s, 10m or 2h");
}

function conditionOf(tokens: Tokens): MessageCondition {
  const becomes = tokens.accept("becomes");
  if (!becomes) refuseMisspelt(tokens.peek());
  const anyOf = [termsOf(tokens)];
  while (tokens.accept("or")) anyOf.push(termsOf(tokens));
  tokens.end();
  if (anyOf.flat().length > MAX_TERMS) {
    throw new Unreadable(`has more than ${MAX_TERMS} comparisons`);
  }
  return { becomes, anyOf };
}

/** A path that is nearly `becomes` would be a condition that never holds. */
function refuseMisspelt(first: Token | undefined): void {
  if (first?.kind !== "word" || nearestWord(first.text, ["becomes"]) === undefined) return;
  throw new Unreadable(
    `has ${first.text}: write becomes, or $.${first.text} if that is the name of a value`,
  );
}

function termsOf(tokens: Tokens): readonly ConditionTerm[] {
  const terms = [termOf(tokens)];
  while (tokens.accept("and")) terms.push(termOf(tokens));
  return terms;
}

const JOINING = new Set(["and", "or"]);

function termOf(tokens: Tokens): ConditionTerm {
  if (tokens.accept("changed")) {
    const next = tokens.peek();
    const isPath = next?.kind === "word" && !JOINING.has(next.text.toLowerCase());
    return { path: isPath ? pathOf(tokens.take("word")) : [], operator: "changed" };
  }
  const word = tokens.peek()?.kind === "word" ? tokens.take("word") : undefined;
  const path = word === undefined ? [] : pathOf(word);
  const operator = operatorOf(tokens.take("operator", expectedAfter(word)));
  const value = valueOf(tokens.take("", "a number, a text in quotes, true, false or null"));
  if (operator !== "==" && operator !== "!=" && typeof value !== "number") {
    throw new Unreadable(`${operator} compares numbers, not ${JSON.stringify(value)}`);
  }
  return { path, operator, value };
}

function expectedAfter(word = ""): string {
  const isNearlyChanged = nearestWord(word, ["changed"]) !== undefined;
  return `one of == != < <= > >=${isNearlyChanged ? " (or the word changed in front)" : ""}`;
}

function operatorOf(written: string): ComparisonOperator {
  switch (written) {
    case "==":
    case "!=":
    case "<":
    case "<=":
    case ">":
    case ">=":
      return written;
    default:
      throw new Unreadable("a single = compares nothing, write ==");
  }
}

function valueOf(written: string): string | number | boolean | null {
  if (written.startsWith("'")) return written.slice(1, -1);
  if (written.startsWith('"')) return textIn(written);
  if (written === "true" || written === "false") return written === "true";
  if (written === "null") return null;
  const number = Number(written);
  if (Number.isFinite(number)) return number;
  throw new Unreadable(`a text stands in quotes: "${written}"`);
}

/** `$` is the payload; what begins with a name means the same with `$.` in front. */
function pathOf(written: string): JsonPath {
  const steps = [
    ...written.matchAll(/(?:^|\.)([\p{L}_][\p{L}\p{N}_-]*)|\[(\d+)\]|\[("[^]*?[^\\]"|"")\]/gu),
  ];
  if (steps.length > MAX_STEPS) throw new Unreadable(`has a path of more than ${MAX_STEPS} steps`);
  return steps.map(([, name, index, key]) => {
    if (name !== undefined) return name;
    return index === undefined ? textIn(key ?? "") : Number(index);
  });
}

function textIn(quoted: string): string {
  try {
    return String(JSON.parse(quoted));
  } catch {
    throw new Unreadable(`${quoted} is not a text as JSON has it`);
  }
}

class Tokens {
  readonly #tokens: readonly Token[];
  #next = 0;

  constructor(written: string) {
    this.#tokens = tokensOf(written);
  }

  peek(): Token | undefined {
    return this.#tokens[this.#next];
  }

  /** Takes this word if it comes next. */
  accept(word: string): boolean {
    const next = this.peek();
    const isNext = next?.kind === "word" && next.text.toLowerCase() === word;
    if (isNext) this.#next += 1;
    return isNext;
  }

  /** The text of the next token, which has to be of a kind, or of any. */
  take(kind: Token["kind"] | "", expected = "a path"): string {
    const next = this.peek();
    if (next === undefined) throw new Unreadable(`ends where ${expected} is expected`);
    if (kind !== "" && next.kind !== kind) {
      throw new Unreadable(`has ${next.text} where ${expected} is expected`);
    }
    this.#next += 1;
    return next.text;
  }

  end(): void {
    const next = this.peek();
    if (next !== undefined)
      throw new Unreadable(`has ${next.text} where \`and\`, \`or\` or the end is expected`);
  }
}

function tokensOf(written: string): readonly Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < written.length;) {
    const blank = /\s*/y;
    blank.lastIndex = at;
    blank.exec(written);
    at = blank.lastIndex;
    if (at === written.length) break;
    const token = tokenAt(written, at);
    if (token === undefined)
      throw new Unreadable(
        `has ${written.slice(at, at + 20)}, which is no path, operator, number or text in quotes`,
      );
    tokens.push(token);
    at += token.text.length;
  }
  return tokens;
}

function tokenAt(written: string, at: number): Token | undefined {
  for (const [kind, pattern] of TOKENS) {
    pattern.lastIndex = at;
    const [text] = pattern.exec(written) ?? [];
    if (text !== undefined) return { kind, text };
  }
  return undefined;
}
