import type { Random } from "./random.ts";

/** Values that a reader may not have thought of. */
const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  2 ** 53,
  -(2 ** 31),
  1e308,
  "",
  " ",
  "0",
  "\u0000",
  "\ud800",
  "\u202e\u2066x",
  [],
  {},
  [[]],
  [null],
  { "": "" },
];

const KEYS = ["__proto__", "constructor", "toString", "", "TEXT", "a".repeat(300), "length"];

/**
 * A text with one of the JSON values in it changed in its structure: the whole text, or what stands
 * between the first bracket of a line and its end. Unchanged where there is none.
 */
export function mutatedJson(text: string, random: Random, words: readonly string[]): string {
  const whole = parsed(text);
  if (whole !== undefined) return changed(whole.value, random, words);
  const lines = text.split("\n");
  const found = lines.flatMap((line, index) => {
    const start = line.search(/[[{]/);
    const value = start === -1 ? undefined : parsed(line.slice(start));
    return value === undefined ? [] : [{ index, start, value: value.value }];
  });
  if (found.length === 0) return text;
  const { index, start, value } = random.pick(found);
  lines[index] = `${lines[index]?.slice(0, start)}${changed(value, random, words)}`;
  return lines.join("\n");
}

function parsed(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}

type Place = { readonly holder: Map<string, unknown> | unknown[]; readonly key: string | number };

/** Objects become maps, so that a key can be anything and stand twice. */
function changed(value: unknown, random: Random, words: readonly string[]): string {
  const root = [toMaps(value)];
  const places = placesIn(root);
  const { holder, key } = random.pick(places);
  const at = Array.isArray(holder) ? holder[Number(key)] : holder.get(String(key));
  const put = (next: unknown): void => {
    if (Array.isArray(holder)) holder[Number(key)] = next;
    else holder.set(String(key), next);
  };
  const kind = random.below(8);
  if (kind <= 1) put(random.pick(VALUES));
  else if (kind === 2) put(words.length === 0 ? "" : random.pick(words));
  else if (kind === 3) drop({ holder, key }, root);
  else if (kind === 4) put(random.chance(0.5) ? [at, at] : new Map([["a", at]]));
  else if (kind === 5) put(valueAt(random.pick(places)));
  else if (kind === 6) put(nested(at, random.pick([3, 99, 101, 2000])));
  else addKey(at, put, { random, words });
  return written(root[0], 0);
}

function addKey(
  at: unknown,
  put: (next: unknown) => void,
  { random, words }: { readonly random: Random; readonly words: readonly string[] },
): void {
  const key = random.pick([...KEYS, ...words]);
  const value = random.pick(VALUES);
  if (at instanceof Map) at.set(key, value);
  else put(new Map([[key, value]]));
}

function drop({ holder, key }: Place, root: readonly unknown[]): void {
  if (holder === root) return;
  if (Array.isArray(holder)) holder.splice(Number(key), 1);
  else holder.delete(String(key));
}

function nested(value: unknown, levels: number): unknown {
  let result = value;
  for (let level = 0; level < levels; level += 1) result = [result];
  return result;
}

function toMaps(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(toMaps);
  if (typeof value !== "object" || value === null) return value;
  return new Map(Object.entries(value).map(([key, inner]) => [key, toMaps(inner)]));
}

function placesIn(holder: unknown): Place[] {
  if (Array.isArray(holder)) {
    const places: Place[] = [];
    for (const [key, value] of holder.entries()) places.push({ holder, key }, ...placesIn(value));
    return places;
  }
  if (!(holder instanceof Map)) return [];
  const entries: [string, unknown][] = [...holder];
  const places: Place[] = [];
  for (const [key, value] of entries) places.push({ holder, key }, ...placesIn(value));
  return places;
}

function valueAt({ holder, key }: Place): unknown {
  return Array.isArray(holder) ? holder[Number(key)] : holder.get(String(key));
}

/** JSON again; what holds itself, or is too deep to be written, is null there. */
function written(value: unknown, depth: number): string {
  if (depth > 3000) return "null";
  if (Array.isArray(value)) return `[${value.map((one) => written(one, depth + 1)).join(",")}]`;
  if (!(value instanceof Map)) return JSON.stringify(value) ?? "null";
  const entries: [string, unknown][] = [...value];
  const members = entries.map(([key, one]) => `${JSON.stringify(key)}:${written(one, depth + 1)}`);
  return `{${members.join(",")}}`;
}
