import type { Log } from "../base/log.ts";
import { asyncConversations } from "./async-conversations.ts";
import type { Store, StoreOptions } from "./contract.ts";
import { createCounters } from "./counters.ts";
import { openDatabase } from "./database.ts";
import { GroupCommit } from "./group-commit.ts";
import { createRequests } from "./requests.ts";
import { createTurns } from "./turns.ts";

export interface SqliteStoreOptions extends StoreOptions {
  readonly log: Log;
  /** Hears how many calls each transaction held. */
  readonly onCommit?: (calls: number) => void;
}

/**
 * A store in one file on this machine. Calls that are made in one go are one transaction and one fsync;
 * other processes may read the file meanwhile. Throws a `Failure` (`config`) when it cannot be had.
 */
export async function openSqliteStore<M>(
  file: string,
  options: SqliteStoreOptions,
): Promise<Store<M>> {
  const db = await openDatabase(file, options.log);
  const commits = new GroupCommit(db, file, options.onCommit);
  const { run, read } = commits;
  const requests = createRequests<M>(db, options);
  const turns = createTurns<M>(db, options);
  const meters = createCounters(db, options);
  return {
    accept: (ticket, admission) => run(() => requests.accept(ticket, admission)),
    load: (claim) => read(() => requests.load(claim)),
    begin: (claim) => run(() => requests.begin(claim)),
    record(claim, message) {
      const text = JSON.stringify(message);
      return run(() => requests.record(claim, text));
    },
    answered(claim, answer, messages, forgets) {
      return run(() => {
        const lane = claim.attempt === 0 ? undefined : requests.answered(claim, answer);
        if (lane !== undefined) turns.append(lane, messages, forgets);
        return lane !== undefined;
      });
    },
    expire: (claim, answer) =>
      run(() => claim.attempt === 0 && requests.answered(claim, answer) !== undefined),
    delivered: (claim) => run(() => requests.delivered(claim)),
    release: (claim) => run(() => requests.release(claim)),
    ...asyncConversations(turns, run, read),
    append: (lane, messages, forgets) =>
      run(() => turns.append(lane, messages, forgets), "process"),
    counters: (most) => read(() => meters.all(most)),
    counter: (name) => read(() => meters.one(name)),
    writeCounters: (take) => run(() => meters.change(take()), "process"),
    claimAbandoned: () => run(() => requests.claimAbandoned()),
    rejections: (after, most) => read(() => requests.rejections(after, most)),
    renew: () => run(() => requests.renew()),
    purge: () =>
      run(() => {
        requests.purge();
        turns.purge();
        meters.purge();
      }),
    close() {
      commits.close();
      if (db.isOpen) db.close();
      return Promise.resolve();
    },
  };
}
