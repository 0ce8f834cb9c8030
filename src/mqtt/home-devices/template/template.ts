import { ExpressionReader, type Evaluate, type Scope } from "./expression.ts";
import { tokensOf } from "./tokens.ts";
import { bounded, isTrue, textOf } from "./values.ts";

/**
 * The part of Jinja that programs write into discovery payloads: values, conditions, filters. There are no loops, no
 * pattern filters and no state of anything else, so that a template takes time by its length, and reads nothing but
 * its variables.
 */
export interface Template {
  /** As it is written. */
  readonly text: string;
  /** The variables that it reads. */
  readonly names: ReadonlySet<string>;
  /** The value of a template that is one expression, else a text. Throws if there is none. */
  evaluate(scope: Scope): unknown;
}

const MAX_TEMPLATE = 2_000;

/** Undefined for a template that is not understood. */
export function parseTemplate(text: string): Template | undefined {
  if (text.length > MAX_TEMPLATE) return undefined;
  try {
    const reader = new ExpressionReader(tokensOf(text.trim()));
    const parts = partsOf(reader);
    if (reader.next !== undefined) return undefined;
    const [only] = parts;
    const isExpression = parts.length === 1 && only?.isText === false;
    const whole = textsOf(parts);
    return {
      text,
      names: reader.names,
      evaluate: isExpression ? only.evaluate : (scope) => textOf(whole(scope)).trim(),
    };
  } catch {
    return undefined;
  }
}

interface Part {
  readonly isText: boolean;
  readonly evaluate: Evaluate;
}

/** What follows, up to the end or a statement that ends it. */
function partsOf(reader: ExpressionReader): readonly Part[] {
  const parts: Part[] = [];
  while (reader.next !== undefined) {
    const { type, text } = reader.take();
    if (type === "text") parts.push({ isText: true, evaluate: () => text });
    else if (text === "{{") parts.push({ isText: false, evaluate: output(reader) });
    else {
      const word = reader.name();
      if (word === "if") parts.push({ isText: true, evaluate: condition(reader) });
      else if (word === "set") parts.push({ isText: true, evaluate: assignment(reader) });
      else if (word === "else" || word === "elif" || word === "endif") {
        // Its own statement reads on from here.
        reader.back(2);
        return parts;
      } else throw new Error(`no statement ${word}`);
    }
  }
  return parts;
}

function output(reader: ExpressionReader): Evaluate {
  const value = reader.expression();
  reader.expect("}}");
  return value;
}

function assignment(reader: ExpressionReader): Evaluate {
  const name = reader.name();
  reader.expect("=");
  const value = reader.expression();
  reader.expect("%}");
  return (scope) => {
    scope.set(name, value(scope));
    return "";
  };
}

function condition(reader: ExpressionReader): Evaluate {
  const is = reader.expression();
  reader.expect("%}");
  const then = textsOf(partsOf(reader));
  reader.expect("{%");
  const word = reader.name();
  if (word === "elif") {
    const otherwise = condition(reader);
    return (scope) => (isTrue(is(scope)) ? then(scope) : otherwise(scope));
  }
  reader.expect("%}");
  if (word === "endif") return (scope) => (isTrue(is(scope)) ? then(scope) : "");
  const otherwise = textsOf(partsOf(reader));
  for (const mark of ["{%", "endif", "%}"]) reader.expect(mark);
  return (scope) => (isTrue(is(scope)) ? then(scope) : otherwise(scope));
}

function textsOf(parts: readonly Part[]): Evaluate {
  return (scope) => {
    let text = "";
    for (const { evaluate } of parts) text = bounded(text + textOf(evaluate(scope)));
    return text;
  };
}
