import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { Message } from "../agent/contract.ts";
import { Failure } from "../base/failure.ts";
import type { Log } from "../base/log.ts";
import type { Config, MqttChannel } from "../config/contract.ts";
import { randomClientId } from "../mqtt/connection.ts";
import type { Store, StoreOptions } from "../store/contract.ts";
import { createMemoryStore } from "../store/memory.ts";

/** What outlives the process, or is made as if it did. */
export interface State {
  readonly store: Store<Message>;
  /** The client id that the channel keeps from start to start; undefined where it needs none. */
  clientId(channel: MqttChannel): string | undefined;
  close(): Promise<void>;
}

export interface StateOptions {
  readonly config: Config;
  readonly channels: readonly MqttChannel[];
  readonly log: Log;
}

const LEASE_MS = 60_000;
const BOUNDS = {
  leaseMs: LEASE_MS,
  rows: 4096,
  bytes: 8 * 2 ** 20,
  messages: 100,
  characters: 2 ** 21,
  hiddenMs: 90 * 24 * 60 * 60_000,
  hiddenTurns: 10_000,
  hiddenBytes: 256 * 2 ** 20,
};

/** State that ends with the process. */
export function temporaryState(config: Config): State {
  const store = createMemoryStore<Message>(storeOptions(config));
  return { store, clientId: () => undefined, close: () => store.close() };
}

/**
 * State in `<workspace>/state`. Where it cannot be had, a gateway that promised to lose nothing (QoS 1
 * and 2) does not start; any other serves without it and says so.
 */
export async function openState(options: StateOptions): Promise<State> {
  try {
    return await openLasting(options);
  } catch (thrown) {
    const promised = options.channels.some(({ settings }) => settings.qos > 0);
    if (promised || !(thrown instanceof Failure)) throw thrown;
    const { message, why, remedy } = thrown;
    options.log.error("conversations will not outlive this process", {
      error: message,
      why,
      try: remedy,
    });
    return temporaryState(options.config);
  }
}

async function openLasting({ config, log }: StateOptions): Promise<State> {
  const [{ openHome }, { openSqliteStore }] = await Promise.all([
    import("../store/home.ts"),
    import("../store/sqlite.ts"),
  ]);
  const home = await openHome(join(config.agents.defaults.workspace, "state"), { log });
  if (home.slot > 1) {
    log.warn("another gateway of this home is running: this one keeps a state of its own", {
      slot: home.slot,
    });
  }
  try {
    const settings = { ...storeOptions(config), sole: true, log };
    const store = await openSqliteStore<Message>(home.databaseFile, settings);
    return {
      store,
      clientId({ name, settings: { qos, client_id, agent_id } }) {
        if (qos === 0 || client_id !== "") return undefined;
        const make = (): string => randomClientId(`picoclaw-mqtt-${agent_id}`);
        return home.clientId(`${name} ${agent_id}`, make);
      },
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

function storeOptions(config: Config): StoreOptions {
  const windowMs = config.gateway.dedupe_window_secs * 1000;
  return { owner: randomUUID(), now: () => Date.now(), bounds: { ...BOUNDS, windowMs } };
}
