import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { Log } from "../../base/log.ts";
import { at } from "../../base/unknown.ts";
import { readRows, writeRows } from "./channel-rows.ts";

/** When another program used the client id of a channel. */
export interface ClientIdConflict {
  readonly channel: string;
  /** Milliseconds since the epoch. */
  readonly lastAt: number;
  readonly times: number;
}

const NAME = /^client-id-conflicts(?:-\d+)?\.json$/;

/** Notes one in a file of JSON, for a check in another process. Never throws. */
export function noteConflict(file: string, channel: string, log: Log): void {
  const all = readRows(file);
  const former = conflictIn(channel, at(all, channel));
  const noted = { last_at: Date.now(), times: (former?.times ?? 0) + 1 };
  writeRows(file, { ...all, [channel]: noted }, "the conflict of client ids", log);
}

/** Those that the gateways of a state folder have noted. */
export function clientIdConflictsIn(folder: string): readonly ClientIdConflict[] {
  if (!existsSync(folder)) return [];
  const files = readdirSync(folder).filter((name) => NAME.test(name));
  return files.flatMap((name) =>
    Object.entries(readRows(join(folder, name))).flatMap(
      ([channel, row]) => conflictIn(channel, row) ?? [],
    ),
  );
}

function conflictIn(channel: string, row: unknown): ClientIdConflict | undefined {
  const [lastAt, times] = [at(row, "last_at"), at(row, "times")];
  if (typeof lastAt !== "number" || typeof times !== "number") return undefined;
  return { channel, lastAt, times };
}
