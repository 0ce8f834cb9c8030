import { Failure } from "../base/failure.ts";
import type { ConversationStore, Meter, StoreOptions } from "./contract.ts";
import { openDatabaseBeside, unusable } from "./database.ts";
import { GroupCommit } from "./group-commit.ts";
import { eachMeter } from "./meters.ts";
import { DELIVERED } from "./schema.ts";
import { conversationsOf } from "./spoken.ts";
import { createTurns } from "./turns.ts";

/**
 * What `read` makes of the meters in a database; the process whose it is may be at work. Throws a `Failure`
 * (`config`) when it cannot be read.
 */
export async function readMeters<T>(
  file: string,
  read: (meters: Iterable<Meter>) => T,
): Promise<T> {
  const db = await openDatabaseBeside(file, { readOnly: true });
  try {
    return read(eachMeter(db));
  } catch (thrown) {
    throw unusable(file, thrown);
  } finally {
    db.close();
  }
}

export interface BesideOptions extends Pick<StoreOptions, "now" | "bounds"> {
  /** Nothing is written; the file must be there. */
  readonly readOnly: boolean;
}

const DROP_ANSWERED = `DELETE FROM requests WHERE state = ${DELIVERED}
  AND coalesce(json_extract(ticket, '$.conversation'), json_extract(ticket, '$.lane')) = ?`;

/**
 * The conversations in a database that may be another process's, in short transactions of their own: a
 * gateway that runs is not disturbed. Throws a `Failure` (`config`) when they cannot be had.
 */
export async function openConversations<M>(
  file: string,
  options: BesideOptions,
): Promise<ConversationStore<M>> {
  const db = await openDatabaseBeside(file, options);
  /** A file that is corrupt further inside shows that only when it is read. */
  const failed = (thrown: unknown): never => {
    throw unusable(file, thrown instanceof Failure ? (thrown.cause ?? thrown) : thrown);
  };
  const turns = createTurns<M>(db, options);
  if (options.readOnly) {
    // Later, as other stores do, and without a transaction.
    const read = <T>(work: () => T): Promise<T> => Promise.resolve().then(work).catch(failed);
    return {
      ...conversationsOf(turns, read),
      close() {
        db.close();
        return Promise.resolve();
      },
    };
  }
  // What is deleted is overwritten: nobody finds it in the file.
  db.exec("PRAGMA secure_delete = ON");
  const commits = new GroupCommit(db, file);
  const dropAnswered = db.prepare(DROP_ANSWERED);
  /** With the questions and answers that are only kept to know duplicates again. */
  const erase = (lane: string): number => {
    dropAnswered.run(lane);
    return turns.erase(lane);
  };
  return {
    ...conversationsOf({ ...turns, erase }, (work) => commits.run(work).catch(failed)),
    close() {
      commits.close();
      if (db.isOpen) db.close();
      return Promise.resolve();
    },
  };
}
