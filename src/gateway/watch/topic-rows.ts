import {
  CELL,
  readCell,
  RunningSamples,
  writeCell,
  type HourBaseline,
  type Samples,
  type WeekHour,
} from "./baseline.ts";

/** A part of an hour to add to what the store has. */
export interface Finished {
  readonly hour: Pick<WeekHour, "hour" | "index">;
  readonly samples: Samples;
}

/** Bytes of a name, with which a row begins; where its other fields are, and its bytes. */
const NAME = 12;
const HOUR = NAME;
const INDEX = HOUR + 4;
const IS_KNOWN = INDEX + 1;
const KNOWN = IS_KNOWN + 1;
const COUNT = KNOWN + CELL;
const MEAN = COUNT + 4;
const SQUARES = MEAN + 8;
const ROW = SQUARES + 8;
const FIRST_ROWS = 64;

/**
 * For each topic the current hour of the week, what the store knows of it, and what came since: in one buffer, because
 * there may be many thousands. A topic is the number of its row.
 */
export class TopicRows {
  #bytes = Buffer.alloc(ROW * FIRST_ROWS);
  #rows = 0;
  readonly #free: number[] = [];

  /** A row whose name is the beginning of a hash. */
  open(hash: Buffer, hour: WeekHour): number {
    const row = this.#free.pop() ?? this.#rows++;
    if (ROW * this.#rows > this.#bytes.length) {
      this.#bytes = Buffer.concat([this.#bytes], 2 * this.#bytes.length);
    }
    this.#bytes.fill(0, ROW * row, ROW * (row + 1));
    hash.copy(this.#bytes, ROW * row, 0, NAME);
    this.begin(row, hour);
    return row;
  }

  close(row: number): void {
    this.#free.push(row);
  }

  nameOf(row: number): string {
    return this.#bytes.toString("hex", ROW * row, ROW * row + NAME);
  }

  hourOf(row: number): Finished["hour"] {
    const at = ROW * row;
    return { hour: this.#bytes.readUInt32LE(at + HOUR), index: this.#bytes.readUInt8(at + INDEX) };
  }

  /** Begins an hour of which nothing is known yet. */
  begin(row: number, { hour, index }: WeekHour): void {
    const at = ROW * row;
    this.#bytes.writeUInt32LE(hour, at + HOUR);
    this.#bytes.writeUInt8(index, at + INDEX);
    this.#bytes.writeUInt8(0, at + IS_KNOWN);
  }

  /** What the store knows of this hour of earlier weeks; undefined until it was read. */
  knownOf(row: number): HourBaseline | undefined {
    const isKnown = this.#bytes.readUInt8(ROW * row + IS_KNOWN) === 1;
    return isKnown ? readCell(this.#bytes, ROW * row + KNOWN) : undefined;
  }

  know(row: number, known: HourBaseline): void {
    this.#bytes.writeUInt8(1, ROW * row + IS_KNOWN);
    writeCell(this.#bytes, ROW * row + KNOWN, known);
  }

  add(row: number, value: number): void {
    const [at, bytes] = [ROW * row, this.#bytes];
    const current = this.#currentOf(row);
    current.add(value);
    bytes.writeUInt32LE(current.count, at + COUNT);
    bytes.writeDoubleLE(current.mean, at + MEAN);
    bytes.writeDoubleLE(current.squares, at + SQUARES);
  }

  /** Takes out what came since it was taken last; undefined if nothing did. */
  take(row: number): Finished | undefined {
    const current = this.#currentOf(row);
    this.#bytes.fill(0, ROW * row + COUNT, ROW * (row + 1));
    return current.count === 0 ? undefined : { hour: this.hourOf(row), samples: current.samples };
  }

  #currentOf(row: number): RunningSamples {
    const [at, bytes] = [ROW * row, this.#bytes];
    return new RunningSamples(
      bytes.readUInt32LE(at + COUNT),
      bytes.readDoubleLE(at + MEAN),
      bytes.readDoubleLE(at + SQUARES),
    );
  }
}
