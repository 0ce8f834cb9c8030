/** The value under a key (or an index) of something from outside; undefined where there is none. */
export function at(value: unknown, key: string | number): unknown {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
  const found: unknown = Reflect.get(value, key);
  return found;
}

/** The text under a key, "" where there is none. */
export function textAt(value: unknown, key: string | number): string {
  const found = at(value, key);
  return typeof found === "string" ? found : "";
}

/** The items under a key, none where it is no list. */
export function listAt(value: unknown, key: string): readonly unknown[] {
  const found = at(value, key);
  return Array.isArray(found) ? found : [];
}

/** Levels of JSON from outside: what is nested deeper takes more than the stack to be written again. */
const MAX_DEPTH = 1000;

/** The value of a JSON text from outside. Throws where it is none, or is nested deeper than 1000 levels. */
export function fromJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  // Each level takes two characters at the least.
  if (text.length > 2 * MAX_DEPTH && isTooDeep(value)) throw new Error("it is nested too deeply");
  return value;
}

function isTooDeep(value: unknown): boolean {
  let level = [value];
  for (let depth = 0; depth <= MAX_DEPTH; depth += 1) {
    level = level.flatMap((one) =>
      typeof one === "object" && one !== null ? Object.values(one) : [],
    );
    if (level.length === 0) return false;
  }
  return true;
}
