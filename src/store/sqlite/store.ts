import { DatabaseSync } from "node:sqlite";
import type { Log } from "../../base/log.ts";
import type { Store, StoreOptions } from "../contract/store.ts";
import { GroupCommit } from "../group-commit.ts";
import type { GroupCommitOptions } from "../group-commit.ts";
import { asyncConversations, Conversations } from "./conversations.ts";
import { Counters } from "./counters.ts";
import { openDatabase } from "./database.ts";
import { Requests } from "./requests.ts";
import { migrate } from "./schema.ts";

export interface SqliteStoreOptions
  extends StoreOptions, Pick<GroupCommitOptions, "sync" | "onCommit"> {
  readonly log: Log;
}

/**
 * Opens a store in one file on this machine. Calls that are made in one go are one transaction and one
 * fsync; other processes may read the file meanwhile. Rejects with a `Failure` (`config`) if the file
 * cannot be opened.
 */
export async function openSqliteStore<M>(
  file: string,
  options: SqliteStoreOptions,
): Promise<Store<M>> {
  return storeIn(await openDatabase(file, options.log), file, options);
}

/** What a store in memory holds at most of conversations and of counters. */
const IN_MEMORY = {
  conversations: 1000,
  conversationBytes: 8 * 2 ** 20,
  counters: 16_384,
};

/** Creates a store in memory: it ends with the process. */
export function createMemoryStore<M>(options: StoreOptions): Store<M> {
  const { bounds } = options;
  const conversationBytes = Math.min(bounds.conversationBytes, IN_MEMORY.conversationBytes);
  const db = new DatabaseSync(":memory:");
  db.exec("PRAGMA foreign_keys = ON");
  migrate(db, "memory");
  return storeIn(db, "memory", {
    ...options,
    inMemory: true,
    bounds: {
      ...bounds,
      conversations: Math.min(bounds.conversations, IN_MEMORY.conversations),
      conversationBytes,
      // One conversation cannot take more than a quarter from the others.
      turnBytes: Math.min(bounds.turnBytes, conversationBytes / 4),
      counters: Math.min(bounds.counters, IN_MEMORY.counters),
    },
  });
}

function storeIn<M>(
  db: DatabaseSync,
  file: string,
  options: StoreOptions & GroupCommitOptions & { readonly inMemory?: boolean },
): Store<M> {
  const requests = new Requests<M>(db, options);
  const conversations = new Conversations<M>(db, options);
  const counters = new Counters(db, options);
  const commits = new GroupCommit(db, file, {
    ...options,
    onRollback() {
      requests.numbers.rolledBack();
      conversations.rolledBack();
      counters.rolledBack();
    },
  });
  const { run, read } = commits;
  return {
    accept: (request, admission) => run(() => requests.accept(request, admission)),
    find: (named) => read(() => requests.find(named)),
    load: (claim) => read(() => requests.load(claim)),
    join: (claim, to) => run(() => requests.join(claim, to)),
    begin: (claim) => run(() => requests.begin(claim)),
    record(claim, message) {
      const text = JSON.stringify(message);
      return run(() => requests.record(claim, text));
    },
    answered(claim, answer, messages, forgets) {
      return run(() => {
        const name = claim.attempt === 0 ? undefined : requests.answered(claim, answer);
        if (name !== undefined) conversations.append(name, messages, forgets);
        return name !== undefined;
      });
    },
    expire: (claim, answer) =>
      run(() => claim.attempt === 0 && requests.answered(claim, answer) !== undefined),
    delivered: (claim) => run(() => requests.delivered(claim), "process"),
    release: (claim) => run(() => requests.release(claim)),
    ...asyncConversations(conversations, run, read),
    append: (name, messages, forgets) =>
      run(() => conversations.append(name, messages, forgets), "process"),
    counters: (most) => read(() => counters.all(most)),
    counter: (name) => read(() => counters.one(name)),
    count: (take) => run(() => counters.count(take()), "process"),
    ...laterParts(db, options, commits),
    ...ownersPart(requests, commits),
    purge: () =>
      run(() => {
        requests.purge();
        conversations.purge();
        counters.purge();
      }),
    close() {
      commits.close();
      if (db.isOpen) db.close();
      return Promise.resolve();
    },
  };
}

/** What is of other owners, or of this one alone. */
function ownersPart<M>(
  requests: Requests<M>,
  { run, read }: GroupCommit,
): Pick<Store<M>, "claimAbandoned" | "rejections" | "renew"> {
  return {
    claimAbandoned: () => run(() => requests.claimAbandoned()),
    rejections: (after, most) => read(() => requests.rejections(after, most)),
    renew: () => run(() => requests.renew()),
  };
}

/** What only some configurations use. */
function laterParts(
  db: DatabaseSync,
  { owner, now }: StoreOptions,
  commits: GroupCommit,
): Pick<Store<never>, "hasJobs" | "jobs" | "confirmations"> {
  return {
    hasJobs: () => commits.read(() => db.prepare("SELECT 1 FROM jobs LIMIT 1").get() !== undefined),
    jobs: async () => (await import("./jobs.ts")).jobsIn(db, owner, commits),
    confirmations: async () =>
      (await import("./confirmations.ts")).confirmationsIn(db, commits, now),
  };
}
