import { callable, isHeavy, testOf } from "./filters.ts";
import type { Token } from "./tokens.ts";
import { calculated, isEqual, isIn, isTrue, numberOf, valueUnder } from "./values.ts";

/** The variables of a template. */
export type Scope = Map<string, unknown>;

/** Throws if a value is none for what is done with it. */
export type Evaluate = (scope: Scope) => unknown;

const MAX_DEPTH = 32;
/** Calls that take a text or a list apart. */
const MAX_HEAVY = 8;

/** Reads the expressions of a template, token by token. Its methods throw where there is none. */
export class ExpressionReader {
  readonly #tokens: readonly Token[];
  readonly #names = new Set<string>();
  #at = 0;
  #depth = 0;
  #heavy = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  get next(): Token | undefined {
    return this.#tokens[this.#at];
  }

  /** The variables that were read so far. */
  get names(): ReadonlySet<string> {
    return this.#names;
  }

  take(): Token {
    const token = this.next;
    if (token === undefined) throw new Error("the template has no end");
    this.#at += 1;
    return token;
  }

  /** Goes back by some tokens. */
  back(count: number): void {
    this.#at -= count;
  }

  /** Takes the next token if it is one of these. */
  takeIf(...texts: readonly string[]): string | undefined {
    const token = this.next;
    const isOne = token !== undefined && token.type !== "string" && texts.includes(token.text);
    return isOne ? this.take().text : undefined;
  }

  #isNext(symbol: string): boolean {
    return this.next?.type === "symbol" && this.next.text === symbol;
  }

  expect(text: string): void {
    if (this.takeIf(text) === undefined) throw new Error(`${text} is missing`);
  }

  name(): string {
    const { type, text } = this.take();
    if (type !== "name" || text.startsWith("__")) throw new Error("a name is missing");
    return text;
  }

  expression(): Evaluate {
    this.#depth += 1;
    if (this.#depth > MAX_DEPTH) throw new Error("it is nested too deeply");
    const value = this.#choice();
    this.#depth -= 1;
    return value;
  }

  #choice(): Evaluate {
    const value = this.#or();
    if (this.takeIf("if") === undefined) return value;
    const condition = this.#or();
    const otherwise = this.takeIf("else") === undefined ? () => undefined : this.expression();
    return (scope) => (isTrue(condition(scope)) ? value(scope) : otherwise(scope));
  }

  #or(): Evaluate {
    let left = this.#and();
    while (this.takeIf("or") !== undefined) {
      const [one, other] = [left, this.#and()];
      left = (scope) => {
        const value = one(scope);
        return isTrue(value) ? value : other(scope);
      };
    }
    return left;
  }

  #and(): Evaluate {
    let left = this.#not();
    while (this.takeIf("and") !== undefined) {
      const [one, other] = [left, this.#not()];
      left = (scope) => {
        const value = one(scope);
        return isTrue(value) ? other(scope) : value;
      };
    }
    return left;
  }

  #not(): Evaluate {
    let isNegated = false;
    let isNot = false;
    while (this.takeIf("not") !== undefined) [isNot, isNegated] = [true, !isNegated];
    const value = this.#comparison();
    return isNot ? (scope) => isTrue(value(scope)) !== isNegated : value;
  }

  #comparison(): Evaluate {
    const left = this.#joined();
    const operator = this.takeIf("==", "!=", "<", "<=", ">", ">=", "in", "not");
    if (operator === undefined) return left;
    if (operator === "not") this.expect("in");
    const right = this.#joined();
    if (operator === "in") return (scope) => isIn(left(scope), right(scope));
    if (operator === "not") return (scope) => !isIn(left(scope), right(scope));
    if (operator === "==") return (scope) => isEqual(left(scope), right(scope));
    if (operator === "!=") return (scope) => !isEqual(left(scope), right(scope));
    return (scope) => calculated(operator, left(scope), right(scope));
  }

  #joined(): Evaluate {
    return this.#series(["~"], () => this.#sum());
  }

  #sum(): Evaluate {
    return this.#series(["+", "-"], () => this.#product());
  }

  #product(): Evaluate {
    return this.#series(["*", "/", "//", "%"], () => this.#signed());
  }

  #series(operators: readonly string[], part: () => Evaluate): Evaluate {
    let left = part();
    for (;;) {
      const operator = this.takeIf(...operators);
      if (operator === undefined) return left;
      const [one, other] = [left, part()];
      left = (scope) => calculated(operator, one(scope), other(scope));
    }
  }

  #signed(): Evaluate {
    if (this.takeIf("-") === undefined) return this.#filtered();
    const value = this.#filtered();
    return (scope) => -numberOf(value(scope));
  }

  #filtered(): Evaluate {
    let value = this.#postfixed();
    for (;;) {
      const mark = this.takeIf("|", "is");
      if (mark === undefined) return value;
      value = mark === "|" ? this.#filter(value) : this.#test(value);
    }
  }

  #filter(value: Evaluate): Evaluate {
    const apply = this.#callable("filter", this.name());
    const args = this.takeIf("(") === undefined ? [] : this.#arguments(")");
    return (scope) => apply(value(scope), valuesOf(args, scope));
  }

  #callable(kind: "filter" | "method", name: string): ReturnType<typeof callable> {
    if (isHeavy(name)) this.#heavy += 1;
    if (this.#heavy > MAX_HEAVY) throw new Error("it has too much to do");
    return callable(kind, name);
  }

  #test(value: Evaluate): Evaluate {
    const isNegated = this.takeIf("not") !== undefined;
    const is = testOf(this.name());
    return (scope) => is(value(scope)) !== isNegated;
  }

  #postfixed(): Evaluate {
    let value = this.#atom();
    for (;;) {
      const mark = this.takeIf(".", "[");
      if (mark === undefined) return value;
      value = mark === "." ? this.#member(value) : this.#item(value);
    }
  }

  #member(value: Evaluate): Evaluate {
    const { type } = this.next ?? {};
    const name = type === "number" ? this.take().text : this.name();
    if (this.takeIf("(") === undefined) return (scope) => valueUnder(value(scope), name);
    const apply = this.#callable("method", name);
    const args = this.#arguments(")");
    return (scope) => apply(value(scope), valuesOf(args, scope));
  }

  #item(value: Evaluate): Evaluate {
    const from = this.#isNext(":") ? undefined : this.expression();
    if (this.takeIf(":") === undefined) {
      this.expect("]");
      return (scope) => valueUnder(value(scope), from?.(scope));
    }
    const to = this.#isNext("]") ? undefined : this.expression();
    this.expect("]");
    return (scope) => sliced(value(scope), from?.(scope), to?.(scope));
  }

  #atom(): Evaluate {
    const { type, text } = this.take();
    if (type === "string") return () => text;
    if (type === "number") {
      const number = Number(text);
      return () => number;
    }
    if (type === "name") return this.#named(text);
    if (text === "(") {
      const value = this.expression();
      this.expect(")");
      return value;
    }
    if (text === "[") {
      const items = this.#arguments("]");
      return (scope) => valuesOf(items, scope);
    }
    if (text === "{") return this.#dictionary();
    throw new Error("a value is missing");
  }

  #named(name: string): Evaluate {
    if (Object.hasOwn(CONSTANTS, name)) return () => CONSTANTS[name];
    if (this.takeIf("(") !== undefined) {
      const apply = callable("function", name);
      const args = this.#arguments(")");
      return (scope) => {
        const [first, ...others] = valuesOf(args, scope);
        return apply(first, others);
      };
    }
    if (name.startsWith("__")) throw new Error("no such name");
    this.#names.add(name);
    return (scope) => scope.get(name);
  }

  #dictionary(): Evaluate {
    const entries: [Evaluate, Evaluate][] = [];
    while (this.takeIf("}") === undefined) {
      if (entries.length > 0) this.expect(",");
      const key = this.expression();
      this.expect(":");
      entries.push([key, this.expression()]);
    }
    return (scope) => new Map(entries.map(([key, value]) => [key(scope), value(scope)]));
  }

  /** Values up to that mark. `base=16` is a value for the place that its name has everywhere: the second. */
  #arguments(end: string): readonly Evaluate[] {
    const values: Evaluate[] = [];
    while (this.takeIf(end) === undefined) {
      if (values.length > 0) this.expect(",");
      const value = this.expression();
      if (this.takeIf("=") === undefined) values.push(value);
      else this.#keyword(values);
    }
    return values;
  }

  #keyword(values: Evaluate[]): void {
    const name = this.#tokens[this.#at - 2]?.text;
    const value = this.expression();
    if (name === "base") values[1] = value;
    else if (name === "default" || name === "default_value") values[0] = value;
    else throw new Error("no such argument");
  }
}

const CONSTANTS: Readonly<Record<string, unknown>> = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
};

function valuesOf(values: readonly Evaluate[], scope: Scope): readonly unknown[] {
  return Array.from(values, (value: Evaluate | undefined) => value?.(scope));
}

function sliced(value: unknown, from: unknown, to: unknown): unknown {
  if (typeof value !== "string" && !Array.isArray(value)) throw new Error("it has no parts");
  const [start, end] = [from, to].map((one) => (one === undefined ? undefined : numberOf(one)));
  return value.slice(start, end);
}
