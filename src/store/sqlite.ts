import type { DatabaseSync } from "node:sqlite";
import type { Log } from "../base/log.ts";
import { createCommits } from "./commits.ts";
import type { Store, StoreBounds, StoreOptions } from "./contract.ts";
import { openDatabase } from "./database.ts";
import { parsed } from "./parsed.ts";
import { createRequests } from "./requests.ts";

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
  const { run, close } = createCommits(db, file, options.onCommit);
  const requests = createRequests<M>(db, options);
  const turns = createTurns<M>(db, options);
  return {
    accept: (ticket) => run(() => requests.accept(ticket)),
    begin: (claim) => run(() => requests.begin(claim)),
    record(claim, message) {
      const text = JSON.stringify(message);
      return run(() => requests.record(claim, text));
    },
    answered(claim, answer, messages) {
      return run(() => {
        const lane = claim.attempt === 0 ? undefined : requests.answered(claim, answer);
        if (lane !== undefined && messages.length > 0) turns.append(lane, messages);
        return lane !== undefined;
      });
    },
    expire: (claim, answer) =>
      run(() => claim.attempt === 0 && requests.answered(claim, answer) !== undefined),
    delivered: (claim) => run(() => requests.delivered(claim)),
    release: (claim) => run(() => requests.release(claim)),
    history: (lane) => run(() => turns.latest(lane)),
    append: (lane, messages) => run(() => turns.append(lane, messages)),
    takeOver: () => run(() => requests.takeOver()),
    finished: () => run(() => requests.finished()),
    renew: () => run(() => requests.renew()),
    purge: () => run(() => requests.purge()),
    close() {
      close();
      if (db.isOpen) db.close();
      return Promise.resolve();
    },
  };
}

interface Turns<M> {
  readonly append: (lane: string, messages: readonly M[]) => void;
  /** Whole turns, at least the last one. */
  readonly latest: (lane: string) => readonly M[];
}

function createTurns<M>(
  db: DatabaseSync,
  { now, bounds }: Pick<StoreOptions, "now" | "bounds">,
): Turns<M> {
  const add = db.prepare("INSERT INTO turns (lane, messages, count, at) VALUES (?, ?, ?, ?)");
  const newestFirst = db.prepare(
    "SELECT messages, count FROM turns WHERE lane = ? ORDER BY id DESC",
  );
  return {
    append(lane, messages) {
      add.run(lane, JSON.stringify(messages), messages.length, now());
    },
    latest(lane) {
      const texts: string[] = [];
      let { messages, characters }: Pick<StoreBounds, "messages" | "characters"> = bounds;
      for (const row of newestFirst.iterate(lane)) {
        const text = String(row["messages"]);
        messages -= Number(row["count"]);
        characters -= text.length;
        if (texts.length > 0 && (messages < 0 || characters < 0)) break;
        texts.push(text);
      }
      return texts.toReversed().flatMap((text) => parsed<M[]>(text));
    },
  };
}
