/** Whether untyped data is an object, and no list. */
export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The value under a key or an index of untyped data; undefined if there is none. */
export function at(value: unknown, key: string | number): unknown {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
  const found: unknown = Reflect.get(value, key);
  return found;
}

/** The string under a key; "" if there is none. */
export function textAt(value: unknown, key: string | number): string {
  const found = at(value, key);
  return typeof found === "string" ? found : "";
}

/** The items of the list under a key; none if it is not a list. */
export function listAt(value: unknown, key: string): readonly unknown[] {
  const found = at(value, key);
  return Array.isArray(found) ? found : [];
}

/** Levels of nested JSON from outside; a deeper value would overflow the stack when it is serialized. */
const MAX_DEPTH = 1000;

/** Parses JSON from outside. Throws if it is not JSON or is nested deeper than 1000 levels. */
export function fromJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  // Each level takes at least two characters.
  if (text.length > 2 * MAX_DEPTH && isDeeperThan(value, MAX_DEPTH))
    throw new Error("it is nested too deeply");
  return value;
}

/** Whether objects and lists are nested in more levels; a value without them has one. */
export function isDeeperThan(value: unknown, levels: number): boolean {
  let level = [value];
  for (let depth = 0; depth <= levels; depth += 1) {
    level = level.flatMap((one) =>
      typeof one === "object" && one !== null ? Object.values(one) : [],
    );
    if (level.length === 0) return false;
  }
  return true;
}
