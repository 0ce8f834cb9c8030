import type { Log, LogFields } from "../../src/base/log.ts";

export interface LogLine {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly message: string;
  readonly fields: LogFields;
}

export interface MemoryLog extends Log {
  readonly lines: LogLine[];
  /** All lines, each with its level, message and fields. */
  readonly text: () => string;
}

/** A log that remembers. */
export function createMemoryLog(): MemoryLog {
  const lines: LogLine[] = [];
  const at =
    (level: LogLine["level"]) =>
    (message: string, fields: LogFields = {}) =>
      void lines.push({ level, message, fields });
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    lines,
    text: () =>
      lines
        .map((line) => `${line.level} ${line.message} ${JSON.stringify(line.fields)}`)
        .join("\n"),
  };
}
