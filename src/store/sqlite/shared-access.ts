import { Failure } from "../../base/failure.ts";
import type { ConversationStore } from "../contract/conversations.ts";
import type { Counter } from "../contract/counters.ts";
import type { JobStore } from "../contract/jobs.ts";
import type { StoreOptions } from "../contract/store.ts";
import { GroupCommit } from "../group-commit.ts";
import { asyncConversations, Conversations } from "./conversations.ts";
import { eachCounter } from "./counters.ts";
import { openSharedDatabase, unusable } from "./database.ts";
import { DROP_ANSWERED } from "./requests.ts";

/**
 * Returns what `read` makes of the counters in a database that another process may be using. Rejects with
 * a `Failure` (`config`) if it cannot be read.
 */
export async function readCounters<T>(
  file: string,
  read: (counters: Iterable<Counter>) => T,
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

/** Opens the jobs in a database in the same way as `openConversations`; only a gateway claims them. */
export async function openJobs(
  file: string,
  { owner, readOnly }: Pick<StoreOptions, "owner"> & Pick<SharedAccessOptions, "readOnly">,
): Promise<JobStore & Pick<ConversationStore<unknown>, "close">> {
  const { jobsIn } = await import("./jobs.ts");
  const db = await openSharedDatabase(file, { readOnly });
  const commits = new GroupCommit(db, file, readOnly ? { sync: undefined } : {});
  return {
    ...jobsIn(db, owner, commits),
    close() {
      commits.close();
      if (db.isOpen) db.close();
      return Promise.resolve();
    },
  };
}

export interface SharedAccessOptions extends Pick<StoreOptions, "now" | "bounds"> {
  /** Nothing is written; the file must exist. */
  readonly readOnly: boolean;
}

/**
 * Opens the conversations in a database that another process may be using, in short transactions that do
 * not disturb a gateway. Rejects with a `Failure` (`config`) if they cannot be opened.
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
  const conversations = new Conversations<M>(db, options);
  const commits = new GroupCommit(db, file, {
    onRollback: () => conversations.rolledBack(),
    ...(options.readOnly && { sync: undefined }),
  });
  const write = <T>(work: () => T): Promise<T> => commits.run(work).catch(failed);
  const read = <T>(work: () => T): Promise<T> => commits.read(work).catch(failed);
  return {
    ...asyncConversations(conversations, write, read),
    /** Deletes the requests and answers that only stay for duplicates, too. */
    erase: (name) =>
      write(() => {
        db.prepare(DROP_ANSWERED).run(name);
        return conversations.erase(name);
      }),
    close() {
      commits.close();
      if (db.isOpen) db.close();
      return Promise.resolve();
    },
  };
}
