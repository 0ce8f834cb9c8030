import { createHash } from "node:crypto";
import type { ConditionTerm, JsonPath, MessageCondition } from "../../base/contract.ts";
import { at, fromJson, isObject } from "../../base/unknown.ts";

/** What a payload says: JSON, or else the text itself. JSON with too many levels is a text. */
export function valueOfPayload(text: string): unknown {
  try {
    return fromJson(text);
  } catch {
    return text;
  }
}

/** The value at a path; undefined if there is none. */
function valueAt(value: unknown, path: JsonPath): unknown {
  let found = value;
  for (const step of path) {
    const isInside = typeof step === "number" ? Array.isArray(found) : isObject(found);
    found = isInside ? at(found, step) : undefined;
  }
  return found;
}

/** The number at a path, also one that is written as a text; undefined if there is none. */
export function numberAt(value: unknown, path: JsonPath): number | undefined {
  return numberIn(valueAt(value, path));
}

/** For each term the text of the value that `changed` compares; undefined for other terms, and where there is none. */
export type ComparedValues = readonly (string | undefined)[];

/** Long texts count by their hash. */
export function comparedValues({ anyOf }: MessageCondition, value: unknown): ComparedValues {
  return anyOf
    .flat()
    .map((term) =>
      term.operator === "changed" ? shortText(valueAt(value, term.path)) : undefined,
    );
}

export function comparesValues({ anyOf }: MessageCondition): boolean {
  return anyOf.flat().some(({ operator }) => operator === "changed");
}

/** Whether a condition holds, apart from `becomes`. The compared values are of this message and of those before it. */
export function holds(
  { anyOf }: MessageCondition,
  value: unknown,
  now: ComparedValues,
  before: ComparedValues,
): boolean {
  const results = anyOf.flat().map((term, index) => {
    if (term.operator !== "changed") return compares(term, value);
    const [is, was] = [now[index], before[index]];
    return is !== undefined && was !== undefined && is !== was;
  });
  let end = 0;
  return anyOf.some(({ length }) => {
    end += length;
    return results.slice(end - length, end).every(Boolean);
  });
}

function compares(term: Exclude<ConditionTerm, { operator: "changed" }>, value: unknown): boolean {
  const { operator, value: wanted } = term;
  const found = valueAt(value, term.path);
  if (found === undefined) return false;
  if (operator === "==") return isEqual(found, wanted);
  if (operator === "!=") return !isEqual(found, wanted);
  const number = numberIn(found);
  if (number === undefined || typeof wanted !== "number") return false;
  if (number === wanted) return operator === "<=" || operator === ">=";
  return number < wanted ? operator.startsWith("<") : operator.startsWith(">");
}

/** A number equals a text that is this number; a text in a condition equals the number or boolean that reads so. */
function isEqual(found: unknown, wanted: string | number | boolean | null): boolean {
  if (typeof wanted === "number") return numberIn(found) === wanted;
  if (typeof wanted !== "string" || typeof found === "string") return found === wanted;
  return (typeof found === "number" || typeof found === "boolean") && String(found) === wanted;
}

function numberIn(found: unknown): number | undefined {
  // 1e999 is a number of JSON, too.
  if (typeof found === "number") return Number.isFinite(found) ? found : undefined;
  if (typeof found !== "string" || !/^\s*[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?\s*$/i.test(found)) {
    return undefined;
  }
  const number = Number(found);
  return Number.isFinite(number) ? number : undefined;
}

const MAX_TEXT = 32;

function shortText(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  const text = JSON.stringify(value);
  return text.length <= MAX_TEXT ? text : createHash("sha256").update(text).digest("base64url");
}
