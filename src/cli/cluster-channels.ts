import type { Log } from "../base/log.ts";
import { VERSION } from "../base/version.ts";
import { Intakes } from "../gateway/cluster/intakes.ts";
import { openClusterChannel } from "../mqtt/agent-channel/cluster-channel.ts";
import type { Channel, ChannelOptions } from "../mqtt/contract.ts";
import type { Cluster } from "../store/cluster.ts";

/** Opens the channels of a gateway that shares its store with others. */
export interface ClusterChannels {
  readonly open: (options: ChannelOptions) => Channel;
  /** How many gateways share the store, in words for `/status`. */
  readonly status: () => string;
  /** Before this, every channel has to be closed. */
  readonly close: () => void;
}

export function openClusterChannels(
  cluster: Cluster,
  { instance, log }: { readonly instance: string; readonly log: Log },
): ClusterChannels {
  const since = new Date().toISOString();
  const intakes = new Intakes({
    cluster,
    about: () => ({ instance, version: VERSION, since }),
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
