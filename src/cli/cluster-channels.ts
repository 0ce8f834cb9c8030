import { dirname } from "node:path";
import type { Instructions } from "../agent/workspace/instructions.ts";
import { readInstructions } from "../agent/workspace/instructions.ts";
import type { Log } from "../base/log.ts";
import { VERSION } from "../base/version.ts";
import type { Config } from "../config/contract.ts";
import { Intakes } from "../gateway/cluster/intakes.ts";
import { openClusterChannel } from "../mqtt/agent-channel/cluster-channel.ts";
import type { Channel, ChannelOptions } from "../mqtt/contract.ts";
import type { Cluster } from "../store/cluster.ts";
import { gatewayNameOf } from "./agent-cluster.ts";

/** Opens the channels of a gateway that shares its store with others. */
export interface ClusterChannels {
  readonly open: (options: ChannelOptions) => Channel;
  /** How many gateways share the store, in words for `/status`. */
  readonly status: () => string;
  /** Before this, every channel has to be closed. */
  readonly close: () => void;
}

export interface ClusterChannelsOptions {
  readonly config: Config;
  /** The home folder of the program; the workspace's parent if left out. */
  readonly home?: string | undefined;
  readonly instance: string;
  /** Called when this gateway begins to hear a channel. */
  readonly taken: () => void;
  readonly log: Log;
}

export async function openClusterChannels(
  cluster: Cluster,
  { config, home, instance, taken, log }: ClusterChannelsOptions,
): Promise<ClusterChannels> {
  const since = new Date().toISOString();
  const gateway = gatewayNameOf(config);
  const { workspace } = config.agents.defaults;
  const instructions = await createWatch(() =>
    readInstructions(workspace, home ?? dirname(workspace)),
  );
  const intakes = new Intakes({
    cluster,
    about: () => ({
      name: gateway,
      instance,
      version: VERSION,
      since,
      instructions: instructions(),
    }),
    taken,
    log,
  });
  return {
    open(options) {
      const { name, settings } = options.channel;
      if (options.hasSubscriber !== undefined) {
        log.warn(
          "the built-in broker is this gateway's own: the other gateways hear nothing of it",
          {
            channel: name,
            try: "let all gateways of the store connect to one broker",
          },
        );
      }
      const intake = intakes.open(`${name} ${settings.agent_id}`);
      return openClusterChannel({ ...options, intake, isAlone: () => intakes.isAlone() });
    },
    status() {
      const others = intakes.gateways().length - 1;
      if (others < 1) return "no other gateway shares the store";
      return `${others + 1} gateways share the store and its requests`;
    },
    close: () => intakes.close(),
  };
}

/** Milliseconds after which the files are read again: owners change them seldom. */
const READ_AGAIN_MS = 60_000;

/** Returns the latest result, and reads again in the background when it is old. */
async function createWatch(read: () => Promise<Instructions>): Promise<() => Instructions> {
  let [latest, at] = [await read(), performance.now()];
  return () => {
    if (performance.now() - at >= READ_AGAIN_MS) {
      at = performance.now();
      void read().then((next) => (latest = next));
    }
    return latest;
  };
}
