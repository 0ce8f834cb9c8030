import { keepMemorySmall } from "../../base/memory.ts";
import type { Gateway } from "../../gateway/gateway.ts";
import { laneOf } from "../../gateway/request-keys.ts";
import { withA2a } from "../../mqtt/a2a/a2a.ts";
import type { Channel, ChannelOptions, ChannelRequest } from "../../mqtt/contract.ts";

/** The channel, which other agents can ask as well, by A2A over MQTT. */
export function serveA2a(channel: Channel, options: ChannelOptions, gateway: Gateway): Channel {
  return withA2a(channel, {
    ...options,
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
