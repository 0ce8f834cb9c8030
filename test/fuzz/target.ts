import type { Material } from "./mutate.ts";

/** One thing that is fed with whatever comes from outside. */
export interface Target {
  readonly name: string;
  /** What must hold, in a sentence. */
  readonly about: string;
  readonly material: Partial<Material>;
  /** Its time must grow with the length of an input, not with a power of it. */
  readonly linear?: true;
  /** Milliseconds of waiting for one input, in all; 10 s. */
  readonly patience?: number;
  open(): Promise<Trial>;
}

/** A target that is ready, with its servers and folders. */
export interface Trial {
  /**
   * Feeds one input and says in a word or two what came of it: inputs with an outcome that is new are
   * kept to be changed further. Throws where something that must hold does not.
   */
  run(input: Uint8Array): string | Promise<string>;
  close?(): Promise<void>;
}

/** Any bytes as text. */
export function textOf(input: Uint8Array): string {
  return new TextDecoder().decode(input);
}

/** Sections of an input, parted by lines of `%%`: several files, a head and a body. */
export function sectionsOf(input: Uint8Array): string[] {
  return textOf(input).split(/^%%\n/m);
}

/** The same in bytes, for what is no text. */
export function headAndBody(input: Uint8Array): readonly [head: string, body: Uint8Array] {
  const bytes = Buffer.from(input);
  const end = bytes.indexOf("\n%%\n");
  if (end === -1) return ["", input];
  return [bytes.toString("latin1", 0, end), bytes.subarray(end + 4)];
}

/** A message as an outcome: without what is different each time. */
export function kindOf(message: string): string {
  return message
    .replaceAll(/"[^"]*"|'[^']*'/g, "…")
    .replaceAll(/\d+/g, "#")
    .split(/\s+/)
    .slice(0, 12)
    .join(" ");
}

/** How large a number is, roughly. */
export function sizeOf(count: number): string {
  return count === 0 ? "0" : `2^${Math.floor(Math.log2(count))}`;
}
