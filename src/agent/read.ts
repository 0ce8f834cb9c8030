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
