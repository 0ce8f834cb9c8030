import type { Log } from "../../base/log.ts";
import { at, isObject, textAt } from "../../base/unknown.ts";
import { readRows, writeRows } from "./channel-rows.ts";

/** The session that a broker keeps for a client id, as it was known last. */
interface BrokerSession {
  readonly clientId: string;
  readonly broker: string;
  /** Milliseconds since the epoch. */
  readonly seenAt: number;
  readonly expirySecs: number;
}

/** What the file holds of one channel. */
export interface BrokerSessionNotes {
  /** Undefined if there is none, or if it cannot be read. */
  read(): BrokerSession | undefined;
  /** Replaces it; undefined removes it. Never throws: a note that is missing costs a warning at most. */
  write(session: BrokerSession | undefined): void;
  /** How many messages this broker had dropped when that was noted last. */
  dropped(broker: string): number | undefined;
  noteDropped(broker: string, total: number): void;
}

/**
 * What is known of the brokers that this gateway was connected with, by channel, in a small file of JSON. A loss of
 * power may undo the last note.
 */
export function openBrokerSessions(
  file: string,
  log: Log,
): (channel: string) => BrokerSessionNotes {
  const change = (channel: string, fields: object | undefined): void => {
    const { [channel]: former, ...others } = readRows(file);
    if (former === undefined && fields === undefined) return;
    const row = fields && { ...(isObject(former) && former), ...fields };
    const all = row === undefined ? others : { ...others, [channel]: row };
    writeRows(file, all, "the broker's session", log);
  };
  return (channel) => {
    const row = (): unknown => at(readRows(file), channel);
    return {
      read: () => sessionIn(row()),
      write: (session) => change(channel, session && rowOf(session)),
      dropped(broker) {
        const total = at(at(row(), "dropped"), broker);
        return typeof total === "number" ? total : undefined;
      },
      noteDropped(broker, total) {
        const totals = at(row(), "dropped");
        change(channel, { dropped: { ...(isObject(totals) && totals), [broker]: total } });
      },
    };
  };
}

function rowOf({ clientId, broker, seenAt, expirySecs }: BrokerSession): object {
  return { client_id: clientId, broker, seen_at: seenAt, expiry_secs: expirySecs };
}

function sessionIn(row: unknown): BrokerSession | undefined {
  const [seenAt, expirySecs] = [at(row, "seen_at"), at(row, "expiry_secs")];
  if (typeof seenAt !== "number" || typeof expirySecs !== "number") return undefined;
  return { clientId: textAt(row, "client_id"), broker: textAt(row, "broker"), seenAt, expirySecs };
}
