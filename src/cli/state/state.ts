import type { Message } from "../../agent/contract.ts";
import type { LearnedStore } from "../../agent/model/memory.ts";
import type { McpDocuments } from "../../agent/tools/mcp/contract.ts";
import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { parseBroker } from "../../config/broker.ts";
import type { Config, MqttChannel } from "../../config/contract.ts";
import { randomClientId } from "../../mqtt/client/connection.ts";
import type { BrokerNotes, DiscoveryNotes } from "../../mqtt/contract.ts";
import type { Cluster } from "../../store/contract/cluster.ts";
import type { NoteStore } from "../../store/contract/notes.ts";
import type { Store } from "../../store/contract/store.ts";
import type { OnCommit } from "../../store/group-commit.ts";
import { openBrokerSessions } from "../../store/home/broker-sessions.ts";
import { noteConflict } from "../../store/home/client-id-conflicts.ts";
import { openDiscoveryNotes } from "../../store/home/discovery-notes.ts";
import { newInstanceId } from "../../store/home/identity.ts";
import { openInstance } from "../../store/home/instance-lock.ts";
import { createMemoryStore, openSqliteStore } from "../../store/sqlite/store.ts";
import { storeOptions, withGoSessions } from "./conversations.ts";
import { agentFilesIn, stateFolderOf } from "./state-folder.ts";

/** The stored state of a gateway, on disk or only in memory. */
export interface State {
  readonly store: Store<Message>;
  /** Of a store that several gateways share. */
  readonly cluster?: Cluster;
  /** Of the same store. */
  readonly notes?: NoteStore;
  /** Names this gateway to others. */
  readonly instanceId: string;
  /** The name of the socket that tells the state of the process; absent without a folder for it. */
  readonly socketFile?: string;
  /** Further files of the state on disk. */
  readonly files: {
    readonly historyFile?: string;
    readonly learned?: LearnedStore;
    readonly mcpDocuments?: McpDocuments;
  };
  /** The client id that a channel uses at each start; undefined if it needs no fixed one. */
  clientId(channel: MqttChannel): string | undefined;
  /** Where a channel notes what its broker keeps and drops; undefined if that ends with this process. */
  brokerNotes(channel: MqttChannel): BrokerNotes | undefined;
  /** Where a channel notes its device in Home Assistant; undefined if that ends with this process. */
  discoveryNotes(channel: MqttChannel): DiscoveryNotes | undefined;
  /** Notes for a check that another program uses the client id of a channel. */
  noteConflict(channel: string): void;
  close(): Promise<void>;
}

export interface StateOptions {
  readonly config: Config;
  readonly channels: readonly MqttChannel[];
  readonly log: Log;
  /** Called after each transaction of the store with its milliseconds. */
  readonly committed?: (ms: number) => void;
}

/** State in memory, which ends with the process. */
export function openTemporaryState(config: Config): State {
  const store = createMemoryStore<Message>(storeOptions(config));
  return {
    store,
    instanceId: newInstanceId(),
    files: {},
    clientId: () => undefined,
    brokerNotes: () => undefined,
    discoveryNotes: () => undefined,
    noteConflict: () => {},
    close: () => store.close(),
  };
}

/**
 * State in the database that `gateway.store` names, or else in `<workspace>/state`. If the files there cannot be
 * opened, a gateway with a channel of QoS 1 or 2 does not start, because it promises to lose nothing. Any other uses
 * memory and logs an error.
 */
export async function openState(options: StateOptions): Promise<State> {
  const { store } = options.config.gateway;
  if (store !== undefined) {
    const { openSharedState } = await import("./shared-state.ts");
    return openSharedState(store, options);
  }
  try {
    return await openPersistent(options);
  } catch (thrown) {
    const promised = options.channels.some(({ settings }) => settings.qos > 0);
    if (promised || !(thrown instanceof Failure)) throw thrown;
    const { message, why, remedy } = thrown;
    options.log.error("conversations will be lost when this process ends", {
      error: message,
      why,
      try: remedy,
    });
    const state = openTemporaryState(options.config);
    return { ...state, store: withGoSessions(state.store, options.config, options.log) };
  }
}

async function openPersistent({ config, log, committed }: StateOptions): Promise<State> {
  const folder = stateFolderOf(config);
  const home = await openInstance(folder, { log });
  if (home.instance > 1) {
    log.warn(
      "another gateway of this home is running: this one stores its own state, and each request that both get has two answers",
      {
        instance: home.instance,
        try: "stop one of them, or give this one its own PICOCLAW_HOME and agent_id",
      },
    );
  }
  try {
    const onCommit: OnCommit = (_calls, _survives, ms) => committed?.(ms);
    const alone = { ...storeOptions(config), sole: true, log, onCommit };
    const store = await openSqliteStore<Message>(home.databaseFile, alone);
    const sessions = openBrokerSessions(home.brokerSessionsFile, log);
    const devices = openDiscoveryNotes(home.discoveryFile, log);
    return {
      store: withGoSessions(store, config, log),
      instanceId: home.id,
      socketFile: home.socketFile,
      files: agentFilesIn(config, home.instance),
      clientId({ name, settings: { qos, client_id, agent_id } }) {
        if (qos === 0 || client_id !== "") return undefined;
        const make = (): string => randomClientId(`picoclaw-mqtt-${agent_id}`);
        return home.clientId(`${name} ${agent_id}`, make);
      },
      // The built-in broker ends with this process, and its sessions with it.
      brokerNotes: ({ name, settings }) => (isBuiltIn(settings) ? undefined : sessions(name)),
      discoveryNotes: ({ name, settings }) => (isBuiltIn(settings) ? undefined : devices(name)),
      noteConflict: (channel) => noteConflict(home.conflictsFile, channel, log),
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

/** The built-in broker is never one of several. */
export function isBuiltIn({ broker }: MqttChannel["settings"]): boolean {
  return parseBroker(broker.join()).kind === "embedded";
}
