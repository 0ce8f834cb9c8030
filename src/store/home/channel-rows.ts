import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { fromJson, isObject } from "../../base/unknown.ts";

/** A row for each channel, by its name. */
export type ChannelRows = Readonly<Record<string, unknown>>;

/** The rows in a small file of JSON; none if it is not there or cannot be read. */
export function readRows(file: string): ChannelRows {
  try {
    const found = fromJson(readFileSync(file, "utf8"));
    return isObject(found) ? found : {};
  } catch {
    return {};
  }
}

/** Replaces them, without waiting for the disk. Never throws: `what` could not be noted then, which is logged. */
export function writeRows(file: string, rows: ChannelRows, what: string, log: Log): void {
  try {
    writeFileSync(`${file}.new`, `${JSON.stringify(rows, null, 2)}\n`, { mode: 0o600 });
    renameSync(`${file}.new`, file);
  } catch (thrown) {
    log.debug(`${what} could not be noted`, { why: asFailure(thrown).why });
  }
}
