import type { Output } from "./host.ts";
import { jsonLine } from "./json.ts";
import { createThinning } from "./thin.ts";
import type { Veil } from "./veil.ts";
import { visible } from "./visible.ts";

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
  readonly veil: Pick<Veil, "text">;
}

/** A log on the given stream; the text writer is loaded only where it is asked for. */
export async function createLog(options: LogOptions): Promise<Log> {
  const write = options.format === "json" ? jsonWriter(options) : await textWriter(options);
  const least = LOG_LEVELS.indexOf(options.level);
  const thin = createThinning();
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

function jsonWriter({ output, veil }: LogOptions): Writer {
  return (level, message, fields) => {
    const facts = Object.entries({ msg: message, ...fields }).map(([key, value]) => [
      key,
      typeof value === "string" ? veil.text(value) : value,
    ]);
    const time = new Date().toISOString();
    void output.write(jsonLine({ time, level, ...Object.fromEntries(facts) }));
  };
}

const plain = (text: string): string => text;

async function textWriter({ output, colour, veil }: LogOptions): Promise<Writer> {
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
    const tail = (colour ? colors.dim : plain)(textOf(fields, veil));
    const said = visible(veil.text(message));
    consola[level](new Date().toTimeString().slice(0, 8), label, said, tail);
  };
}

function textOf(fields: LogFields, veil: LogOptions["veil"]): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${quoted(visible(veil.text(String(value))))}`)
    .join(" ");
}

function quoted(value: string): string {
  return /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
}
