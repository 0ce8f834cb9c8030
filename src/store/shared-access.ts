import { Failure } from "../base/failure.ts";
import { asyncConversations } from "./async-conversations.ts";
import type { ConversationStore, Counter, StoreOptions } from "./contract.ts";
import { eachCounter } from "./counters.ts";
import { openSharedDatabase, unusable } from "./database.ts";
import { GroupCommit } from "./group-commit.ts";
import { DELIVERED } from "./schema.ts";
import { createTurns } from "./turns.ts";

/**
 * What `read` makes of the meters in a database; the process whose it is may be at work. Throws a `Failure`
 * (`config`) when it cannot be read.
 */
export async function readCounters<T>(
  file: string,
  read: (meters: Iterable<Counter>) => T,
): Promise<T> {
  const db = await openSharedDatabase(file, { readOnly: true });
  try {
    return read(eachCounter(db));
  } catch (thrown) {
    throw unusable(file, thrown);
  } finally {
    db.close();
  }
}

export interface SharedAccessOptions extends Pick<StoreOptions, "now" | "bounds"> {
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
  options: SharedAccessOptions,
): Promise<ConversationStore<M>> {
  const db = await openSharedDatabase(file, options);
  /** A file that is corrupt further inside shows that only when it is read. */
  const failed = (thrown: unknown): never => {
    throw unusable(file, thrown instanceof Failure ? (thrown.cause ?? thrown) : thrown);
  };
  const turns = createTurns<M>(db, options);
  if (options.readOnly) {
    // Later, as other stores do, and without a transaction.
    const read = <T>(work: () => T): Promise<T> => Promise.resolve().then(work).catch(failed);
    return {
      ...asyncConversations(turns, read),
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
    ...asyncConversations({ ...turns, erase }, (work) => commits.run(work).catch(failed)),
    close() {
      commits.close();
      if (db.isOpen) db.close();
      return Promise.resolve();
    },
  };
}
