import { keepMemorySmall } from "../../base/memory.ts";
import type { Gateway } from "../../gateway/gateway.ts";
import { laneOf } from "../../gateway/request-keys.ts";
import { withA2a } from "../../mqtt/a2a/a2a.ts";
import type { SharedChannelOptions } from "../../mqtt/agent-channel/further-connection.ts";
import type { Channel, ChannelRequest } from "../../mqtt/contract.ts";

/** The channel, which other agents can ask as well, by A2A over MQTT. */
export function serveA2a(
  channel: Channel,
  options: SharedChannelOptions,
  gateway: Gateway,
): Channel {
  return withA2a(channel, {
    ...options,
    find: (request) => gateway.find({ ...request, fingerprint: "" }),
    cancel: (request) => gateway.cancel({ ...request, fingerprint: "" }),
    onRequest(request) {
      keepMemorySmall();
      return gateway.accept({ ...request, conversation: conversationOf(request) });
    },
  });
}

/** A conversation for each context of a caller. */
function conversationOf({ channel, client, context = "" }: ChannelRequest): string {
  return laneOf({ channel, client: `${client} ${context}` });
}
