import type { Message } from "../../agent/contract.ts";
import type { AgentCluster, Workspace } from "../../agent/workspace/contract.ts";
import { SharedNotes, withSharedNotes } from "../../agent/workspace/shared-notes.ts";
import type { PostgresAddress } from "../../base/contract.ts";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { Config, MqttChannel } from "../../config/contract.ts";
import type { ClusterGateway } from "../../store/contract/cluster.ts";
import type { ConversationStore } from "../../store/contract/conversations.ts";
import type { Counter, StoreClock } from "../../store/contract/counters.ts";
import type { JobStore } from "../../store/contract/jobs.ts";
import type { OnCommit } from "../../store/group-commit.ts";
import { openDiscoveryNotes } from "../../store/home/discovery-notes.ts";
import { openInstance } from "../../store/home/instance-lock.ts";
import {
  hasOnlyAsynchronousStandbys,
  livingGateways,
} from "../../store/postgres/cluster/cluster.ts";
import { methodsOf } from "../../store/postgres/conversations.ts";
import { openPostgres } from "../../store/postgres/database.ts";
import { PostgresJobs } from "../../store/postgres/jobs.ts";
import { openPostgresStore } from "../../store/postgres/store.ts";
import { storeOptions, withGoSessions } from "./conversations.ts";
import { agentFilesIn, stateFolderOf } from "./state-folder.ts";

/** An owner that renews nothing for so long is dead for the others. */
const LEASE_MS = 15_000;

export interface SharedStateOptions {
  readonly config: Config;
  readonly log: Log;
  /** Called after each transaction with its milliseconds. */
  readonly committed?: (ms: number) => void;
}

/**
 * State in a database that gateways share; only what belongs to this machine is in `<workspace>/state`. Rejects with
 * a `Failure`: `unreachable` or `busy` while the database is away.
 */
export async function openSharedState(
  address: PostgresAddress,
  { config, log, committed }: SharedStateOptions,
) {
  const folder = stateFolderOf(config);
  const home = await openInstance(folder, { log });
  try {
    const options = storeOptions(config);
    const bounds = { ...options.bounds, leaseMs: LEASE_MS };
    const onCommit: OnCommit = (_calls, _survives, ms) => committed?.(ms);
    const devices = openDiscoveryNotes(home.discoveryFile, log);
    const store = await openPostgresStore<Message>(address, { ...options, bounds, onCommit });
    return {
      store: withGoSessions(store, config, log),
      cluster: store.cluster,
      notes: store.database.notes,
      instanceId: home.id,
      socketFile: home.socketFile,
      files: agentFilesIn(config, home.instance),
      // All gateways of a cluster share one, one after the other.
      clientId: () => undefined,
      brokerNotes: () => undefined,
      discoveryNotes: ({ name }: MqttChannel) => devices(name),
      // That one ends the connection of the other is usual.
      noteConflict: () => {},
      async close() {
        await store.close();
        home.close();
      },
    };
  } catch (thrown) {
    home.close();
    throw thrown;
  }
}

export interface SharedFacts {
  readonly counters: readonly Counter[];
  readonly clock: StoreClock;
  readonly gateways: readonly ClusterGateway[];
  /** What was committed last is lost when a standby of the database is promoted. */
  readonly hasOnlyAsynchronousStandbys: boolean;
}

/** What gateways share at this moment, for `--check`, which is none of them. */
export async function readSharedFacts(
  address: PostgresAddress,
  config: Config,
): Promise<SharedFacts> {
  const { commits, connections, counters } = await openPostgres<Message>(
    address,
    storeOptions(config),
  );
  try {
    return {
      counters: await counters.counters(),
      clock: await counters.clock(),
      gateways: await livingGateways(connections),
      hasOnlyAsynchronousStandbys: await hasOnlyAsynchronousStandbys(connections),
    };
  } finally {
    await commits.close();
  }
}

/** What the gateways' agents remember, for an agent at this machine. Undefined, and logged, if it cannot be read. */
export async function openSharedMemory(
  address: PostgresAddress,
  config: Config,
  log: Log,
): Promise<{ readonly cluster: AgentCluster; readonly close: () => Promise<void> } | undefined> {
  try {
    const { commits, notes } = await openPostgres<Message>(address, storeOptions(config));
    const facts = { notes: new SharedNotes(notes), now: () => new Date(), log };
    const share = (workspace: Workspace): Workspace => withSharedNotes(workspace, facts);
    return { cluster: { share }, close: () => commits.close() };
  } catch (thrown) {
    const { message, why } = asFailure(thrown);
    log.warn("what the agents remember cannot be read", { error: message, why });
    return undefined;
  }
}

/** The jobs that gateways share, for other commands. */
export async function openSharedJobs(
  address: PostgresAddress,
  config: Config,
): Promise<{ readonly store: JobStore; readonly close: () => Promise<void> }> {
  const options = storeOptions(config);
  const { commits } = await openPostgres<Message>(address, options);
  return { store: new PostgresJobs(commits, options.owner), close: () => commits.close() };
}

/** The conversations that gateways share, for other commands. */
export async function openSharedConversations(
  address: PostgresAddress,
  config: Config,
): Promise<ConversationStore<Message>> {
  const { commits, conversations } = await openPostgres<Message>(address, storeOptions(config));
  return {
    ...methodsOf(conversations),
    append: (...turn) => conversations.append(...turn),
    purge: () => conversations.purge(),
    close: () => commits.close(),
  };
}
