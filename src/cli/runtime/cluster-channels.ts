import { dirname } from "node:path";
import type { Instructions } from "../../agent/workspace/instructions.ts";
import { readInstructions } from "../../agent/workspace/instructions.ts";
import type { Log } from "../../base/log.ts";
import type { Config } from "../../config/contract.ts";
import { Intakes } from "../../gateway/cluster/intakes.ts";
import type { ChannelOptions, ClusterChannelOptions, GatewayOptions } from "../../mqtt/contract.ts";
import { listedGateway, type ListedGateway } from "../../mqtt/protocol/info.ts";
import type { Cluster } from "../../store/contract/cluster.ts";
import { gatewayNameOf } from "./agent-cluster.ts";

/** What the channels of a gateway need that shares its store with others. */
export interface ClusterChannels {
  /** The options of a channel with what it shares with the other gateways; once for each channel. */
  readonly share: (options: ChannelOptions) => ClusterChannelOptions;
  /** Tells the other gateways that this one ends: before its channels are handed over. */
  readonly leave: () => Promise<void>;
  /** How many gateways share the store, in words for `/status`. */
  readonly status: () => string;
  /** Before this, every channel has to be closed. */
  readonly close: () => void;
}

export interface ClusterChannelsOptions {
  readonly config: Pick<Config, "gateway" | "agents">;
  /** The home folder of the program; the workspace's parent if left out. */
  readonly home?: string | undefined;
  /** Called when this gateway begins to hear a channel. */
  readonly taken: () => void;
  readonly log: Log;
}

export async function openClusterChannels(
  cluster: Cluster,
  { config, home, taken, log }: ClusterChannelsOptions,
): Promise<ClusterChannels> {
  const since = new Date().toISOString();
  const gateway = gatewayNameOf(config);
  const { workspace } = config.agents.defaults;
  const instructions = await createWatch(() =>
    readInstructions(workspace, home ?? dirname(workspace)),
  );
  /** Of the first channel. */
  let info: GatewayOptions | undefined;
  const self = (): ListedGateway => listedSelf(info, since);
  const intakes = new Intakes({
    cluster,
    about: () => ({ ...self(), name: gateway, instructions: instructions() }),
    taken,
    log,
  });
  const gateways = (): readonly ListedGateway[] => [
    { ...self(), instructions: instructions().hash },
    ...intakes.others().flatMap((about) => listedGateway(about) ?? []),
  ];
  return {
    share(options) {
      const { name, settings } = options.channel;
      info ??= options.info;
      if (options.hasSubscriber !== undefined) {
        log.warn(
          "the built-in broker is this gateway's own: the other gateways hear nothing of it",
          {
            channel: name,
            try: "let all gateways of the store connect to one broker",
          },
        );
      }
      return {
        ...options,
        info: { ...options.info, since, gateways },
        intake: intakes.open(`${name} ${settings.agent_id}`),
        isAlone: () => intakes.isAlone(),
        onGateways: (listener) => intakes.onChange(listener),
      };
    },
    leave: () => intakes.leave(),
    status() {
      const others = intakes.others().length;
      if (others < 1) return "no other gateway shares the store";
      return `${others + 1} gateways share the store and its requests`;
    },
    close: () => intakes.close(),
  };
}

function listedSelf(info: GatewayOptions | undefined, since: string): ListedGateway {
  const { version = "", instance = "", host, load } = info ?? {};
  const name = host?.();
  return {
    instance,
    version,
    since,
    ...(name !== undefined && { host: name }),
    ...(load && { load: load() }),
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
