import { schemaAt } from "../../base/answer-format.ts";
import { at, isObject, listAt } from "../../base/unknown.ts";
import type { JsonSchema } from "../model/contract.ts";

/** What one check may cost, in schemas that a value is held against: references could multiply them without end. */
const MAX_STEPS = 50_000;
/** Characters of a value whose comparison costs as much. */
const STEP = 64;
/** Nested references and schemas; a reference may lead to itself. */
const MAX_DEPTH = 200;

/** One check in progress. */
interface Check {
  readonly root: JsonSchema;
  steps: number;
}

/**
 * Says how a JSON value does not fit a schema: the first problem, with the JSON pointer of its place; undefined
 * if it fits. Knows the keywords of JSON Schema 2020-12 for types, values, sizes, properties, items, choices
 * and local references. Leaves others unchecked: `pattern` above all, because a pattern from outside can take
 * for ever.
 */
export function problemOf(value: unknown, schema: JsonSchema): string | undefined {
  const check = { root: schema, steps: 0 };
  const problem = problemAt({ value, path: "" }, schema, { check, depth: 0 });
  return check.steps > MAX_STEPS ? TOO_LONG : problem;
}

const TOO_LONG = "the schema takes too long to check";

/** A value, and its JSON pointer in the answer. */
interface Place {
  readonly value: unknown;
  readonly path: string;
}

interface Position {
  readonly check: Check;
  readonly depth: number;
}

/** One keyword, or a few that belong together: says what is wrong, or checks what is inside. */
type Rule = (place: Place, schema: JsonSchema, position: Position) => string | undefined;

function problemAt(place: Place, schema: unknown, position: Position): string | undefined {
  const { check, depth } = position;
  check.steps += 1;
  if (check.steps > MAX_STEPS || depth > MAX_DEPTH) return TOO_LONG;
  if (schema === false) return wrong(place, "must not be there");
  if (!isObject(schema)) return undefined;
  const inner = { check, depth: depth + 1 };
  for (const rule of RULES) {
    const problem = rule(place, schema, inner);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function wrong({ path }: Place, problem: string): string {
  return `${path === "" ? "the answer" : path} ${problem}`;
}

const reference: Rule = (place, schema, position) => {
  const { $ref: target } = schema;
  if (target === undefined) return undefined;
  return problemAt(place, schemaAt(target, position.check.root), position);
};

const types: Rule = (place, { type }) => {
  if (type === undefined) return undefined;
  const names: readonly unknown[] = Array.isArray(type) ? type : [type];
  const kind = kindOf(place.value);
  const fits = names.some(
    (name) => name === kind || (name === "integer" && Number.isInteger(place.value)),
  );
  return fits ? undefined : wrong(place, `is of the type ${kind}, not ${names.join(" or ")}`);
};

const values: Rule = (place, schema, { check }) => {
  const allowed = "const" in schema ? [schema["const"]] : schema["enum"];
  if (!Array.isArray(allowed)) return undefined;
  const own = canonical(place.value, check);
  if (allowed.some((one) => canonical(one, check) === own)) return undefined;
  return wrong(place, `is none of ${short(allowed)}`);
};

const sizes: Rule = (place, schema, { check }) => {
  const { value } = place;
  if (typeof value === "number") return rangeProblem(place, value, schema);
  if (typeof value === "string") {
    check.steps += value.length / STEP;
    return lengthProblem(place, Array.from(value).length, [schema, "Length", "characters"]);
  }
  if (Array.isArray(value)) return lengthProblem(place, value.length, [schema, "Items", "items"]);
  if (!isObject(value)) return undefined;
  return lengthProblem(place, Object.keys(value).length, [schema, "Properties", "properties"]);
};

function rangeProblem(place: Place, value: number, schema: JsonSchema): string | undefined {
  // JSON can have 1e400, but programs cannot.
  if (!Number.isFinite(value)) return wrong(place, "is a number beyond all bounds");
  const bound = (word: string): number => numberAt(schema, word);
  if (value < bound("minimum")) return wrong(place, `is less than ${bound("minimum")}`);
  if (value > bound("maximum")) return wrong(place, `is more than ${bound("maximum")}`);
  if (value <= bound("exclusiveMinimum"))
    return wrong(place, `is not more than ${bound("exclusiveMinimum")}`);
  if (value >= bound("exclusiveMaximum"))
    return wrong(place, `is not less than ${bound("exclusiveMaximum")}`);
  const times = value / bound("multipleOf");
  const isMultiple = Number.isNaN(times) || Math.abs(times - Math.round(times)) < 1e-9;
  return isMultiple ? undefined : wrong(place, `is no multiple of ${bound("multipleOf")}`);
}

function lengthProblem(
  place: Place,
  length: number,
  [schema, word, unit]: readonly [schema: JsonSchema, word: string, unit: string],
): string | undefined {
  const [least, most] = [numberAt(schema, `min${word}`), numberAt(schema, `max${word}`)];
  if (length < least) return wrong(place, `has fewer than ${least} ${unit}`);
  return length > most ? wrong(place, `has more than ${most} ${unit}`) : undefined;
}

/** NaN, which is neither less nor more than any number, if there is none. */
function numberAt(schema: JsonSchema, word: string): number {
  const value = at(schema, word);
  return typeof value === "number" ? value : Number.NaN;
}

const properties: Rule = (place, schema, position) => {
  const { value, path } = place;
  if (!isObject(value)) return undefined;
  const missing = listAt(schema, "required").find((name) => !Object.hasOwn(value, String(name)));
  if (missing !== undefined) return wrong(place, `lacks ${JSON.stringify(missing)}`);
  // What a pattern allows is not known here.
  const { additionalProperties = true } = "patternProperties" in schema ? {} : schema;
  for (const [name, inner] of Object.entries(value)) {
    const own = at(schema["properties"], name) ?? additionalProperties;
    const step = name.replaceAll("~", "~0").replaceAll("/", "~1");
    const problem = problemAt({ value: inner, path: `${path}/${step}` }, own, position);
    if (problem !== undefined) return problem;
  }
  return undefined;
};

const items: Rule = (place, schema, position) => {
  const { value, path } = place;
  if (!Array.isArray(value)) return undefined;
  const { items: rest, additionalItems } = schema;
  const isTuple = Array.isArray(rest);
  const first = isTuple ? rest : listAt(schema, "prefixItems");
  for (const [index, inner] of value.entries()) {
    const own = index < first.length ? first[index] : isTuple ? additionalItems : rest;
    const problem = problemAt({ value: inner, path: `${path}/${index}` }, own, position);
    if (problem !== undefined) return problem;
  }
  if (schema["uniqueItems"] !== true) return undefined;
  const different = new Set(value.map((one) => canonical(one, position.check)));
  return different.size === value.length ? undefined : wrong(place, "has the same item twice");
};

const choices: Rule = (place, schema, position) => {
  for (const inner of listAt(schema, "allOf")) {
    const problem = problemAt(place, inner, position);
    if (problem !== undefined) return problem;
  }
  const problemsOf = (word: string) =>
    listAt(schema, word).map((inner) => problemAt(place, inner, position));
  const any = problemsOf("anyOf");
  if (any.length > 0 && !any.includes(undefined)) {
    return wrong(place, `fits no schema of anyOf: ${any[0]}`);
  }
  const one = problemsOf("oneOf");
  const fitting = one.filter((problem) => problem === undefined).length;
  if (one.length > 0 && fitting !== 1) {
    return wrong(place, `fits ${fitting} schemas of oneOf instead of one: ${one[0] ?? ""}`);
  }
  const { not } = schema;
  const isForbidden = not !== undefined && problemAt(place, not, position) === undefined;
  return isForbidden ? wrong(place, "fits a schema that it must not fit") : undefined;
};

const RULES: readonly Rule[] = [reference, types, values, sizes, properties, items, choices];

function kindOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

/** Equal for equal values: the order of properties does not count. */
function canonical(value: unknown, check: Check): string {
  if (check.steps > MAX_STEPS) return "";
  const text = JSON.stringify(value, (_key, inner: unknown) =>
    isObject(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
  check.steps += text.length / STEP;
  return text;
}

const SHORT = 200;

function short(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > SHORT ? `${text.slice(0, SHORT)}…` : text;
}
