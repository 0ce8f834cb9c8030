import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { asFailure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import { at, fromJson, isObject } from "../base/unknown.ts";

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
  const all = documentIn(file);
  const former = conflictIn(channel, at(all, channel));
  const noted = { last_at: Date.now(), times: (former?.times ?? 0) + 1 };
  try {
    writeFileSync(`${file}.new`, `${JSON.stringify({ ...all, [channel]: noted })}\n`, {
      mode: 0o600,
    });
    renameSync(`${file}.new`, file);
  } catch (thrown) {
    log.debug("the conflict of client ids could not be noted", { why: asFailure(thrown).why });
  }
}

/** Those that the gateways of a state folder have noted. */
export function clientIdConflictsIn(folder: string): readonly ClientIdConflict[] {
  if (!existsSync(folder)) return [];
  const files = readdirSync(folder).filter((name) => NAME.test(name));
  return files.flatMap((name) =>
    Object.entries(documentIn(join(folder, name))).flatMap(
      ([channel, row]) => conflictIn(channel, row) ?? [],
    ),
  );
}

function documentIn(file: string): Readonly<Record<string, unknown>> {
  try {
    const found = fromJson(readFileSync(file, "utf8"));
    return isObject(found) ? found : {};
  } catch {
    return {};
  }
}

function conflictIn(channel: string, row: unknown): ClientIdConflict | undefined {
  const [lastAt, times] = [at(row, "last_at"), at(row, "times")];
  if (typeof lastAt !== "number" || typeof times !== "number") return undefined;
  return { channel, lastAt, times };
}
