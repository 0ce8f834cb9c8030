import type { PostgresAddress } from "../../base/contract.ts";
import type { StoreOptions } from "../contract/store.ts";
import { Connections, type ConnectionsOptions } from "./connection/connections.ts";
import { PostgresConversations } from "./conversations.ts";
import { PostgresCounters } from "./counters.ts";
import { PostgresCommits, type PostgresCommitsOptions } from "./group-commit.ts";
import { keyOf } from "./keys.ts";
import { PostgresNotes } from "./notes.ts";
import { migrate } from "./schema.ts";

export interface PostgresOptions
  extends
    Pick<StoreOptions, "owner" | "now" | "bounds">,
    Pick<ConnectionsOptions, "deadlineMs" | "onNotify">,
    PostgresCommitsOptions {}

/** What a store is made of. */
export interface PostgresDatabase<M> {
  readonly connections: Connections;
  readonly commits: PostgresCommits;
  readonly conversations: PostgresConversations<M>;
  readonly counters: PostgresCounters;
  readonly notes: PostgresNotes;
}

/**
 * Connects to a database, which is migrated to the newest version. Rejects with a `Failure`: `unreachable`, `refused`
 * (user or password), or `config` if the database is of a newer version.
 */
export async function openPostgres<M>(
  address: PostgresAddress,
  options: PostgresOptions,
): Promise<PostgresDatabase<M>> {
  const connections = new Connections({ ...options, address, writer: keyOf(options.owner) });
  try {
    await connections.open((session) => migrate(session, address));
  } catch (error) {
    connections.close();
    throw error;
  }
  const commits = new PostgresCommits(connections, options);
  return {
    connections,
    commits,
    conversations: new PostgresConversations<M>(commits, connections, options),
    counters: new PostgresCounters(commits, connections, options),
    notes: new PostgresNotes(commits),
  };
}
