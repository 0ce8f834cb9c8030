import type { Agent } from "../../agent/agent.ts";
import { keepMemorySmall } from "../../base/memory.ts";
import { VERSION } from "../../base/version.ts";
import type { MqttChannel } from "../../config/contract.ts";
import { createAsk, type Ask, type AskOptions } from "../../gateway/http/ask.ts";
import { createCallLimit } from "../../gateway/http/call-limit.ts";
import type { McpTools } from "../../gateway/mcp/contract.ts";
import type { McpServerOptions } from "../../gateway/mcp/server.ts";

/** What programs may use as clients of a channel that do not speak its own protocol. */
export interface ClientPorts {
  readonly clients: Pick<AskOptions, "accept" | "policies">;
  readonly direct: Agent["direct"];
}

/** Asks as clients of the channel. */
export function askOn({ name }: MqttChannel, { clients }: Pick<ClientPorts, "clients">): Ask {
  return createAsk({
    policies: clients.policies,
    channel: name,
    accept(request) {
      keepMemorySmall();
      return clients.accept(request);
    },
  });
}

/** What clients of the channel find at an MCP server. */
export function mcpServerOptions(channel: MqttChannel, ports: ClientPorts): McpServerOptions {
  const { policies } = ports.clients;
  return {
    agent: channel.settings.agent_id,
    version: VERSION,
    ask: askOn(channel, ports),
    tools: toolsOn(channel, ports),
    refusal: createCallLimit({ policies, channel: channel.name }, () => performance.now()),
  };
}

/** Tools as clients of the channel call them. A reload replaces the agent. */
function toolsOn({ name: channel }: MqttChannel, { direct }: ClientPorts): McpTools {
  const isRemote = true;
  return {
    async offered(client) {
      return (await direct()).offered({ channel, client, isRemote });
    },
    async call(call) {
      return (await direct()).call({ ...call, channel, isRemote });
    },
  };
}
