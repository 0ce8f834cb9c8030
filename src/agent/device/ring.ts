import { SAMPLED } from "./sample.ts";
import type { Sample, SampledFact } from "./sample.ts";

/** Samples that are kept: one a minute for two days. */
export const KEPT_MINUTES = 48 * 60;

/** The samples of the last two days, in a fixed amount of memory (about 70 KB). */
export interface Ring {
  /** Keeps the sample of that minute since the epoch; a second one of a minute takes its place. */
  add(minute: number, sample: Sample): void;
  /** What was measured from one minute to another (not with it), oldest first; gaps are left out. */
  between(fact: SampledFact, from: number, to: number): readonly Measured[];
  /** All of it, to be written to a file; `createRing` reads it. */
  bytes(): Uint8Array;
}

export interface Measured {
  /** Minutes since the epoch. */
  readonly minute: number;
  readonly value: number;
}

const MAGIC = 0x50_43_48_32;
/** What it is, how many columns it has, and the sum of the rest. */
const HEAD_BYTES = 12;
const BYTES = HEAD_BYTES + KEPT_MINUTES * 4 * (1 + SAMPLED.length);

/** An empty ring, or one with what `bytes` of another gave; undefined where those are not such. */
export function createRing(): Ring;
export function createRing(written: Uint8Array): Ring | undefined;
export function createRing(written?: Uint8Array): Ring | undefined {
  const buffer = new ArrayBuffer(BYTES);
  const head = new Uint32Array(buffer, 0, 3);
  if (written !== undefined) {
    if (written.length !== BYTES) return undefined;
    new Uint8Array(buffer).set(written);
    if (head[0] !== MAGIC || head[1] !== SAMPLED.length || head[2] !== sumOf(buffer)) {
      return undefined;
    }
  }
  head.set([MAGIC, SAMPLED.length]);
  const minutes = new Uint32Array(buffer, HEAD_BYTES, KEPT_MINUTES);
  const columns = SAMPLED.map((_, column) => {
    const start = HEAD_BYTES + KEPT_MINUTES * 4 * (1 + column);
    return new Float32Array(buffer, start, KEPT_MINUTES);
  });
  return {
    add(minute, sample) {
      const slot = minute % KEPT_MINUTES;
      minutes[slot] = minute;
      for (const [column, fact] of SAMPLED.entries())
        columns[column]?.fill(sample[fact], slot, slot + 1);
    },
    between(fact, from, to) {
      const column = columns[SAMPLED.indexOf(fact)];
      const found: Measured[] = [];
      // A slot tells of its minute alone: what is older, or was written by a clock that went wrong, is a gap.
      for (let minute = Math.max(from, to - KEPT_MINUTES); minute < to; minute += 1) {
        const slot = minute % KEPT_MINUTES;
        const value = column?.[slot] ?? Number.NaN;
        if (minutes[slot] === minute && Number.isFinite(value)) found.push({ minute, value });
      }
      return found;
    },
    bytes() {
      head[2] = sumOf(buffer);
      return new Uint8Array(buffer).slice();
    },
  };
}

/** FNV-1a over words instead of bytes: any one word that differs makes another sum. */
function sumOf(buffer: ArrayBuffer): number {
  let sum = 0x81_1c_9d_c5;
  for (const word of new Uint32Array(buffer, HEAD_BYTES))
    sum = Math.imul(sum ^ word, 0x01_00_01_93);
  return sum >>> 0;
}
