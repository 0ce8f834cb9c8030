import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { asFailure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import { at, fromJson, isObject, textAt } from "../base/unknown.ts";

/** The session that a broker keeps for a client id, as it was known last. */
interface BrokerSession {
  readonly clientId: string;
  readonly broker: string;
  /** Milliseconds since the epoch. */
  readonly seenAt: number;
  readonly expirySecs: number;
}

/** The session of one channel in the file. */
export interface BrokerSessionNotes {
  /** Undefined if there is none, or if it cannot be read. */
  read(): BrokerSession | undefined;
  /** Replaces it; undefined removes it. Never throws: a note that is missing costs a warning at most. */
  write(session: BrokerSession | undefined): void;
}

/**
 * The sessions of brokers that this gateway was connected with, by channel, in a small file of JSON. A loss of
 * power may undo the last note.
 */
export function openBrokerSessions(
  file: string,
  log: Log,
): (channel: string) => BrokerSessionNotes {
  return (channel) => ({
    read: () => sessionIn(at(documentIn(file), channel)),
    write(session) {
      const sessions = documentIn(file);
      if (session === undefined && !Object.hasOwn(sessions, channel)) return;
      const { [channel]: _former, ...others } = sessions;
      const all = session === undefined ? others : { ...others, [channel]: rowOf(session) };
      try {
        writeFileSync(`${file}.new`, `${JSON.stringify(all, null, 2)}\n`, { mode: 0o600 });
        renameSync(`${file}.new`, file);
      } catch (thrown) {
        log.debug("the broker's session could not be noted", { why: asFailure(thrown).why });
      }
    },
  });
}

function documentIn(file: string): Readonly<Record<string, unknown>> {
  try {
    const found = fromJson(readFileSync(file, "utf8"));
    return isObject(found) ? found : {};
  } catch {
    return {};
  }
}

function rowOf({ clientId, broker, seenAt, expirySecs }: BrokerSession): object {
  return { client_id: clientId, broker, seen_at: seenAt, expiry_secs: expirySecs };
}

function sessionIn(row: unknown): BrokerSession | undefined {
  const [seenAt, expirySecs] = [at(row, "seen_at"), at(row, "expiry_secs")];
  if (typeof seenAt !== "number" || typeof expirySecs !== "number") return undefined;
  return { clientId: textAt(row, "client_id"), broker: textAt(row, "broker"), seenAt, expirySecs };
}
