import { at, isObject } from "../../../base/unknown.ts";

/** Characters of a text that an expression makes. */
const MAX_TEXT = 16 * 1024;

/** As in Python: `None`, `True`, and a number without a point. Throws for what is too long. */
export function textOf(value: unknown): string {
  if (typeof value === "string") return bounded(value);
  if (value === undefined) return "";
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number") return String(value);
  return jsonOf(value);
}

/** A few lists that hold each other many times would be a text of gigabytes: it is counted while it is made. */
export function jsonOf(value: unknown): string {
  let size = 0;
  const text = JSON.stringify(value, function counted(this: unknown, key: string, one: unknown) {
    size += 1 + (Array.isArray(this) ? 0 : key.length) + (typeof one === "string" ? one.length : 0);
    if (size > MAX_TEXT) throw new Error("too long a text");
    return one instanceof Map ? Object.fromEntries(one) : one;
  });
  return bounded(text ?? "null");
}

export function bounded(text: string): string {
  if (text.length > MAX_TEXT) throw new Error("too long a text");
  return text;
}

export function isTrue(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (value instanceof Map) return value.size > 0;
  return isObject(value) ? Object.keys(value).length > 0 : Boolean(value);
}

/** A number, or a truth value as one. Throws for anything else. */
export function numberOf(value: unknown): number {
  if (typeof value === "number") return value;
  if (typeof value === "boolean") return Number(value);
  throw new Error("not a number");
}

export function isEqual(one: unknown, other: unknown): boolean {
  const [left, right] = [one, other].map((value) =>
    typeof value === "boolean" ? Number(value) : value,
  );
  return left === right;
}

/** The value under a key of an object, a list or a dictionary; undefined if there is none. */
export function valueUnder(value: unknown, key: unknown): unknown {
  if (value instanceof Map) return value.get(typeof key === "boolean" ? Number(key) : key);
  if (typeof key === "number" && (Array.isArray(value) || typeof value === "string")) {
    const found: unknown = value.at(Math.trunc(key));
    return found;
  }
  return typeof key === "string" && isObject(value) ? at(value, key) : undefined;
}

export function isIn(value: unknown, whole: unknown): boolean {
  if (typeof whole === "string") return whole.includes(textOf(value));
  if (Array.isArray(whole)) return whole.some((one) => isEqual(one, value));
  if (whole instanceof Map) return whole.has(value);
  return isObject(whole) && typeof value === "string" && Object.hasOwn(whole, value);
}

/** Throws for what cannot be compared or counted. */
export function calculated(operator: string, left: unknown, right: unknown): unknown {
  if (operator === "~") return bounded(textOf(left) + textOf(right));
  if (typeof left === "string" && typeof right === "string") {
    if (operator === "+") return bounded(left + right);
    if (operator in COMPARISONS) return COMPARISONS[operator]?.(compare(left, right));
  }
  const [one, other] = [numberOf(left), numberOf(right)];
  if (operator in COMPARISONS) return COMPARISONS[operator]?.(one - other);
  return finite(CALCULATIONS[operator]?.(one, other));
}

function compare(left: string, right: string): number {
  if (left === right) return 0;
  return left < right ? -1 : 1;
}

const COMPARISONS: Readonly<Record<string, (difference: number) => boolean>> = {
  "<": (difference) => difference < 0,
  "<=": (difference) => difference <= 0,
  ">": (difference) => difference > 0,
  ">=": (difference) => difference >= 0,
};

const CALCULATIONS: Readonly<Record<string, (left: number, right: number) => number>> = {
  "+": (left, right) => left + right,
  "-": (left, right) => left - right,
  "*": (left, right) => left * right,
  "/": (left, right) => left / right,
  "//": (left, right) => Math.floor(left / right),
  // The sign of the right one, as in Python.
  "%": (left, right) => left - right * Math.floor(left / right),
};

function finite(value: number | undefined): number {
  if (value === undefined || !Number.isFinite(value)) throw new Error("no such number");
  return value;
}
