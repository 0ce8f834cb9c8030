import { mutatedJson } from "./mutate-json.ts";
import type { Random } from "./random.ts";

/** What a target is fed with, so that a mutation keeps enough of its shape to get past the first check. */
export interface Material {
  /** Words of the format, put in and over others. */
  readonly words: readonly string[];
  /** Bytes that an input has at most. */
  readonly most: number;
  /** Where JSON can stand: the whole input, any part of a line, or nowhere. */
  readonly json: boolean;
  /** Whether lines are what it is made of. */
  readonly lines: boolean;
}

interface Mutation {
  readonly input: Uint8Array;
  readonly other: Uint8Array;
  readonly random: Random;
  readonly material: Material;
}

type Mutate = (mutation: Mutation) => Uint8Array;

const NUMBERS =
  "0 -0 1 -1 127 128 255 256 32767 65535 65536 2147483647 2147483648 4294967296 9007199254740991 9007199254740993 1e400 -1e400 1e-400 0.1 00 007 0x10 1_000 NaN Infinity 99999999999999999999".split(
    " ",
  );

/** Bytes that are no UTF-8, or a character that is trouble: halves, overlong, beyond, marks, controls. */
const DAMAGE: readonly (readonly number[])[] = [
  [0x80],
  [0xc0, 0xaf],
  [0xe2, 0x82],
  [0xed, 0xa0, 0x80],
  [0xf4, 0x90, 0x80, 0x80],
  [0xff],
  [0xfe, 0xff],
  [0xef, 0xbb, 0xbf],
  [0xef, 0xbf, 0xbd],
  [0],
  [0x1b, 0x5b, 0x32, 0x4a],
  [0xe2, 0x80, 0xa8],
  [0xe2, 0x80, 0xae],
  [0xc2, 0x85],
  [0xf0, 0x9f, 0x91, 0x8b, 0xf0, 0x9f, 0x8f, 0xbd],
];

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

/** The input with what lies between two places replaced. */
function replaced(input: Uint8Array, from: number, to: number, by: Uint8Array): Uint8Array {
  const result = new Uint8Array(from + by.length + Math.max(0, input.length - to));
  result.set(input.subarray(0, from));
  result.set(by, from);
  result.set(input.subarray(to), from + by.length);
  return result;
}

function range({ input, random }: Mutation): readonly [number, number] {
  const from = random.below(input.length + 1);
  const length = random.chance(0.7) ? random.below(9) : random.below(input.length - from + 1);
  return [from, Math.min(input.length, from + length)];
}

const flipBit: Mutate = ({ input, random }) => {
  const result = input.slice();
  const at = random.below(Math.max(1, input.length));
  result[at] = (result[at] ?? 0) ^ (1 << random.below(8));
  return result;
};

const setByte: Mutate = ({ input, random }) => {
  const result = input.slice();
  result[random.below(Math.max(1, input.length))] = random.chance(0.5)
    ? random.below(256)
    : random.pick([0, 0x7f, 0x80, 0xff, 0x0a, 0x20, 0x22, 0x27, 0x5c, 0x7b]);
  return result;
};

const insertBytes: Mutate = ({ input, random }) => {
  const at = random.below(input.length + 1);
  const by = Uint8Array.from({ length: 1 + random.below(8) }, () => random.below(256));
  return replaced(input, at, at, by);
};

const remove: Mutate = (mutation) => replaced(mutation.input, ...range(mutation), new Uint8Array());

const repeat: Mutate = (mutation) => {
  const { input, random, material } = mutation;
  const [from, to] = range(mutation);
  const piece = input.subarray(from, to);
  if (piece.length === 0) return input;
  const room = Math.max(1, Math.floor((material.most - input.length) / piece.length));
  const times = Math.min(room, random.pick([1, 2, 7, 64, 1000, 20_000]));
  const by = new Uint8Array(piece.length * times);
  for (let index = 0; index < times; index += 1) by.set(piece, index * piece.length);
  return replaced(input, to, to, by);
};

const splice: Mutate = ({ input, other, random }) => {
  const from = random.below(input.length + 1);
  const start = random.below(other.length + 1);
  return replaced(input, from, input.length, other.subarray(start));
};

const plant: Mutate = (mutation) => {
  const { input, other, random } = mutation;
  const from = random.below(other.length + 1);
  const piece = other.subarray(from, from + 1 + random.below(40));
  const [start, end] = range(mutation);
  return replaced(input, start, random.chance(0.5) ? start : end, piece);
};

const word: Mutate = (mutation) => {
  const { input, random, material } = mutation;
  if (material.words.length === 0) return input;
  const [from, to] = range(mutation);
  const by = bytesOf(random.pick(material.words));
  return replaced(input, from, random.chance(0.6) ? from : to, by);
};

const number: Mutate = ({ input, random }) => {
  const text = new TextDecoder("latin1").decode(input);
  const found = [...text.matchAll(/-?\d+(?:\.\d+)?/g)];
  if (found.length === 0) return input;
  const { index, 0: written } = random.pick(found);
  return replaced(input, index, index + written.length, bytesOf(random.pick(NUMBERS)));
};

const damage: Mutate = (mutation) => {
  const [from, to] = range(mutation);
  const by = Uint8Array.from(mutation.random.pick(DAMAGE));
  return replaced(mutation.input, from, mutation.random.chance(0.7) ? from : to, by);
};

const brackets: Mutate = ({ input, random, material }) => {
  const open = random.pick(["[", "{", "(", "<", '{"a":', "[[", "- ", "* ", "<b>", "$(", "'", '"']);
  const times = random.pick([1, 2, 20, 101, 1000, 5000]);
  const at = random.below(input.length + 1);
  return replaced(input, at, at, bytesOf(open.repeat(times)).subarray(0, material.most));
};

const lines: Mutate = ({ input, random }) => {
  const text = new TextDecoder("latin1").decode(input);
  const all = text.split("\n");
  const [from, to] = [random.below(all.length), random.below(all.length)];
  const line = all[from] ?? "";
  if (random.chance(0.4)) all.splice(to, 0, line);
  else if (random.chance(0.5)) all.splice(from, 1);
  else [all[from], all[to]] = [all[to] ?? "", line];
  return Uint8Array.from(all.join("\n"), (character) => character.charCodeAt(0));
};

const json: Mutate = ({ input, random, material }) => {
  const text = new TextDecoder().decode(input);
  try {
    return bytesOf(mutatedJson(text, random, material.words));
  } catch (error) {
    // Nested more deeply than this can walk: it stays as it is.
    if (error instanceof RangeError) return input;
    throw error;
  }
};

const ALWAYS: readonly Mutate[] = [
  flipBit,
  setByte,
  insertBytes,
  remove,
  remove,
  repeat,
  splice,
  plant,
  word,
  word,
  number,
  damage,
  brackets,
];

/** One input made of another: one to five changes of any kind, and no longer than the material allows. */
export function mutated(
  input: Uint8Array,
  other: Uint8Array,
  random: Random,
  material: Material,
): Uint8Array {
  const kinds = [
    ...ALWAYS,
    ...(material.lines ? [lines, lines, lines] : []),
    ...(material.json ? [json, json, json, json, json, json] : []),
  ];
  let result = input;
  const times = 1 + random.below(random.chance(0.5) ? 2 : 5);
  for (let time = 0; time < times; time += 1) {
    result = random.pick(kinds)({ input: result, other, random, material });
    result = result.subarray(0, material.most);
  }
  return result;
}
