import { jsonLine } from "./escape-control.ts";
import { escapeControl } from "./escape-control.ts";
import type { Output } from "./host.ts";
import type { Redactor } from "./redaction/redactor.ts";

/** From the most talkative to the least. */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Facts beside a message; undefined ones are left out. Never payload text, never a secret's value. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** Where the program says what it does. Writing never throws and never blocks. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

export interface LogOptions {
  readonly level: LogLevel;
  readonly output: Output;
  /** Text for the eye, or one JSON object a line for a collector. */
  readonly format: "text" | "json";
  readonly colour: boolean;
  /** Over messages and fields. */
  readonly redactor: Pick<Redactor, "redact">;
}

/** A log on the given stream; the text writer is loaded only where it is asked for. */
export async function createLog(options: LogOptions): Promise<Log> {
  const write = options.format === "json" ? jsonWriter(options) : await textWriter(options);
  const least = LOG_LEVELS.indexOf(options.level);
  const thin = createLogSampling();
  const at = (level: LogLevel) =>
    LOG_LEVELS.indexOf(level) < least
      ? () => {}
      : (message: string, fields: LogFields = {}) => {
          // What is of level info happens as often as the program works, and not as others like.
          const kept = level === "info" ? { leftOut: 0 } : thin(message);
          if (kept === undefined) return;
          const more = kept.leftOut > 0 ? { left_out: kept.leftOut } : {};
          write(level, message, { ...fields, ...more });
        };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

/** A log that keeps nothing. */
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
    const said = escapeControl(redactor.redact(message));
    consola[level](new Date().toTimeString().slice(0, 8), label, said, tail);
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

/** Lines of one message that are written at once, and how many a second after that. */
const BURST = 200;
const PER_SECOND = 10;
/** Messages that are told apart; there are not many more in the program. */
const MESSAGES = 512;

interface Bucket {
  tokens: number;
  /** Milliseconds of the clock. */
  at: number;
  leftOut: number;
}

/**
 * Says of each line whether it is to be written, and how many of the same message were left out since the
 * last one that was: a flood from outside must not fill the disk that the log is kept on, nor the memory
 * in front of it. `now` in milliseconds.
 */
function createLogSampling(now: () => number = () => performance.now()) {
  const buckets = new Map<string, Bucket>();
  return (message: string): { readonly leftOut: number } | undefined => {
    const time = now();
    const bucket = buckets.get(message) ?? { tokens: BURST, at: time, leftOut: 0 };
    if (!buckets.has(message)) {
      if (buckets.size >= MESSAGES) buckets.clear();
      buckets.set(message, bucket);
    }
    const gained = ((time - bucket.at) / 1000) * PER_SECOND;
    bucket.tokens = Math.min(bucket.tokens + gained, BURST);
    bucket.at = time;
    if (bucket.tokens < 1) {
      bucket.leftOut += 1;
      return undefined;
    }
    bucket.tokens -= 1;
    const { leftOut } = bucket;
    bucket.leftOut = 0;
    return { leftOut };
  };
}

/** Whether what happens for the n-th time in a row is worth a line: three times, then at each doubling. */
export function shouldLog(times: number): boolean {
  return times <= 3 || Number.isInteger(Math.log2(times));
}
