import { escapeControl, jsonLine } from "./escape-control.ts";
import type { Output } from "./host.ts";
import type { Redactor } from "./redaction/redactor.ts";

/** From the most verbose to the least. */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Facts of a message; undefined ones are omitted. Never payload text, never the value of a secret. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** The log of the program. Writing does not throw and does not block. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

/** A log whose level can change. */
export interface LevelledLog extends Log {
  /** The least level that is written from now on. */
  setLevel(level: LogLevel): void;
}

export interface LogOptions {
  readonly level: LogLevel;
  readonly output: Output;
  /** Text for people, or one JSON object per line for a log collector. */
  readonly format: "text" | "json";
  readonly colour: boolean;
  /** Applied to messages and fields. */
  readonly redactor: Pick<Redactor, "redact">;
}

/** A log on the given stream. The text writer is loaded only if it is used. */
export async function createLog(options: LogOptions): Promise<LevelledLog> {
  const write = options.format === "json" ? jsonWriter(options) : await textWriter(options);
  let least = LOG_LEVELS.indexOf(options.level);
  const sample = createLogSampling();
  const at = (level: LogLevel) => {
    const rank = LOG_LEVELS.indexOf(level);
    return (message: string, fields: LogFields = {}) => {
      if (rank < least) return;
      // Only the program's own work causes lines of level info, so nobody can flood the log with them.
      const sampled = level === "info" ? { omitted: 0 } : sample(message);
      if (sampled === undefined) return;
      const more = sampled.omitted > 0 ? { omitted: sampled.omitted } : {};
      write(level, message, { ...fields, ...more });
    };
  };
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    setLevel(level) {
      least = LOG_LEVELS.indexOf(level);
    },
  };
}

/** A log that discards everything. */
export const SILENT: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

type Writer = (level: LogLevel, message: string, fields: LogFields) => void;

function jsonWriter({ output, redactor }: LogOptions): Writer {
  return (level, message, fields) => {
    const facts = Object.entries({ msg: message, ...fields }).map(([key, value]) => [
      key,
      typeof value === "string" ? redactor.redact(value) : value,
    ]);
    const time = new Date().toISOString();
    void output.write(jsonLine({ time, level, ...Object.fromEntries(facts) }));
  };
}

const plain = (text: string): string => text;

async function textWriter({ output, colour, redactor }: LogOptions): Promise<Writer> {
  const [{ createConsola }, { colors }] = await Promise.all([
    import("consola/core"),
    import("consola/utils"),
  ]);
  const paint = { debug: colors.dim, info: colors.cyan, warn: colors.yellow, error: colors.red };
  const consola = createConsola({
    level: Number.POSITIVE_INFINITY,
    throttle: 0,
    reporters: [{ log: ({ args }) => void output.write(`${args.join(" ")}\n`) }],
  });
  return (level, message, fields) => {
    const label = (colour ? paint[level] : plain)(level.padEnd(5));
    const tail = (colour ? colors.dim : plain)(textOf(fields, redactor));
    const text = escapeControl(redactor.redact(message));
    consola[level](new Date().toTimeString().slice(0, 8), label, text, tail);
  };
}

function textOf(fields: LogFields, redactor: LogOptions["redactor"]): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${quoted(escapeControl(redactor.redact(String(value))))}`)
    .join(" ");
}

function quoted(value: string): string {
  return /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
}

/** Lines of one message that may be written at once, and per second after that. */
const BURST = 200;
const PER_SECOND = 10;
/** Distinct messages that are counted; the program has about that many. */
const MESSAGES = 512;

interface Bucket {
  tokens: number;
  /** Milliseconds of the clock. */
  at: number;
  omitted: number;
}

/**
 * Limits the rate of each message, so that a flood from outside cannot fill the disk that holds the log, or
 * the memory before it. The returned function gives undefined for a line to omit, else how many lines of
 * the same message were omitted since the last one.
 */
function createLogSampling() {
  const buckets = new Map<string, Bucket>();
  return (message: string): { readonly omitted: number } | undefined => {
    const time = performance.now();
    const bucket = buckets.get(message) ?? { tokens: BURST, at: time, omitted: 0 };
    if (!buckets.has(message)) {
      if (buckets.size >= MESSAGES) buckets.clear();
      buckets.set(message, bucket);
    }
    const gained = ((time - bucket.at) / 1000) * PER_SECOND;
    bucket.tokens = Math.min(bucket.tokens + gained, BURST);
    bucket.at = time;
    if (bucket.tokens < 1) {
      bucket.omitted += 1;
      return undefined;
    }
    bucket.tokens -= 1;
    const { omitted } = bucket;
    bucket.omitted = 0;
    return { omitted };
  };
}

/** Whether to log the n-th occurrence in a row: the first three, then at each doubling. */
export function shouldLog(times: number): boolean {
  return times <= 3 || Number.isInteger(Math.log2(times));
}
