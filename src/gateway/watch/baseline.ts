import { at, isObject } from "../../base/unknown.ts";

/** Samples of one hour of the week. */
export interface Samples {
  readonly count: number;
  readonly mean: number;
  /** The standard deviation. */
  readonly deviation: number;
}

/** What is known of one hour of the week. */
export interface HourBaseline extends Samples {
  /** From how many weeks. */
  readonly weeks: number;
}

/** A value, and what is usual. */
export interface UnusualValue extends Samples {
  readonly value: number;
}

const HOURS = 168;
const HOUR_MS = 3_600_000;
/** Nothing is unusual before so many samples, of so many weeks. */
const LEAST_SAMPLES = 12;
const LEAST_WEEKS = 2;
/** Deviations from the mean at which a value is unusual. */
const UNUSUAL = 4;
/** The deviation counts at least as this part of the mean. */
const LEAST_DEVIATION = 0.02;
/** Older samples count less, once there are more. */
const MOST_SAMPLES = 2_000;
/** What is beyond is no measurement: the baseline does not learn it. */
const MOST_VALUE = 1e15;
/**
 * A baseline of few weeks whose spread is so many times that of a new hour, and so large at least, has learned a mistake
 * before it could tell: it begins anew.
 */
const MISTAKEN = 1e6;
const MISTAKEN_WEEKS = 4;

/** An hour as a growing number, and its place in the local week; both as of its beginning. */
export interface WeekHour {
  readonly hour: number;
  readonly index: number;
  /** When it ends, in milliseconds since the epoch. */
  readonly end: number;
}

export function weekHourAt(epoch: number): WeekHour {
  const date = new Date(epoch);
  date.setMinutes(0, 0, 0);
  const begin = date.getTime();
  return {
    hour: Math.floor(begin / HOUR_MS),
    index: date.getDay() * 24 + date.getHours(),
    end: begin + HOUR_MS,
  };
}

/** Whether a value is unusual; false while there is too little to compare it with. */
export function isUnusual(known: HourBaseline | undefined, value: number): boolean {
  if (!isMature(known)) return false;
  return Math.abs(value - known.mean) > UNUSUAL * spread(known);
}

/**
 * The value as it is learned: one that is far off moves the baseline no more than one at the edge. Undefined if it is no
 * measurement.
 */
export function learnable(known: HourBaseline | undefined, value: number): number | undefined {
  if (!(Math.abs(value) <= MOST_VALUE)) return undefined;
  if (!isMature(known)) return value;
  const most = UNUSUAL * spread(known);
  return Math.min(Math.max(value, known.mean - most), known.mean + most);
}

function isMature(known: HourBaseline | undefined): known is HourBaseline {
  return known !== undefined && known.count >= LEAST_SAMPLES && known.weeks >= LEAST_WEEKS;
}

function spread({ mean, deviation }: Samples): number {
  return Math.max(deviation, Math.abs(mean) * LEAST_DEVIATION);
}

function isMistaken(known: HourBaseline, samples: Samples): boolean {
  return known.weeks <= MISTAKEN_WEEKS && spread(known) > MISTAKEN * Math.max(spread(samples), 1);
}

/** Mean and deviation of values that come one by one (Welford). */
export class RunningSamples {
  count: number;
  mean: number;
  /** The sum of the squared deviations. */
  squares: number;

  constructor(count = 0, mean = 0, squares = 0) {
    this.count = count;
    this.mean = mean;
    this.squares = squares;
  }

  add(value: number): void {
    this.count += 1;
    const off = value - this.mean;
    this.mean += off / this.count;
    this.squares += off * (value - this.mean);
  }

  get samples(): Samples {
    const { count, mean } = this;
    const deviation = count === 0 ? 0 : Math.sqrt(this.squares / count);
    return { count, mean, deviation };
  }
}

/** Both together. */
export function merged(one: Samples, other: Samples): Samples {
  const count = one.count + other.count;
  if (count === 0) return one;
  const off = other.mean - one.mean;
  const mean = one.mean + (off * other.count) / count;
  const squares =
    one.count * one.deviation ** 2 +
    other.count * other.deviation ** 2 +
    (off ** 2 * one.count * other.count) / count;
  return { count, mean, deviation: Math.sqrt(squares / count) };
}

const NOTHING: HourBaseline = { count: 0, mean: 0, deviation: 0, weeks: 0 };

/** Bytes of one hour: mean, deviation, samples, weeks. */
export const CELL = 4 + 4 + 2 + 1;

export function readCell(bytes: Buffer, place: number): HourBaseline {
  return {
    mean: bytes.readFloatLE(place),
    deviation: bytes.readFloatLE(place + 4),
    count: bytes.readUInt16LE(place + 8),
    weeks: bytes.readUInt8(place + 10),
  };
}

export function writeCell(bytes: Buffer, place: number, hour: HourBaseline): void {
  bytes.writeFloatLE(hour.mean, place);
  bytes.writeFloatLE(hour.deviation, place + 4);
  bytes.writeUInt16LE(Math.min(hour.count, MOST_SAMPLES), place + 8);
  bytes.writeUInt8(Math.min(hour.weeks, 255), place + 10);
}

/** The baseline of a value for each hour of the week, as a counter of the store holds it. */
export class WeekBaseline {
  /** The last hour of which something was added. */
  #through: number;
  readonly #cells: Buffer;

  constructor(state: unknown) {
    const through = at(state, "through");
    const cells = at(state, "cells");
    const stored = typeof cells === "string" ? Buffer.from(cells, "base64") : Buffer.alloc(0);
    const isRight =
      isObject(state) && stored.length === CELL * HOURS && typeof through === "number";
    this.#cells = isRight ? stored : Buffer.alloc(CELL * HOURS);
    this.#through = isRight ? through : 0;
  }

  get through(): number {
    return this.#through;
  }

  get state(): object {
    return { through: this.#through, cells: this.#cells.toString("base64") };
  }

  at(index: number): HourBaseline {
    return readCell(this.#cells, index * CELL);
  }

  /** Adds the samples of an hour, or of a part of it. */
  add({ hour, index }: Pick<WeekHour, "hour" | "index">, samples: Samples): void {
    const all = this.at(index);
    const known = isMistaken(all, samples) ? NOTHING : all;
    const weeks = hour === this.#through ? Math.max(known.weeks, 1) : known.weeks + 1;
    writeCell(this.#cells, index * CELL, { ...merged(known, samples), weeks });
    this.#through = Math.max(this.#through, hour);
  }
}
