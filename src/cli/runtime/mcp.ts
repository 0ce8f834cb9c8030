import { McpSessions } from "../../gateway/mcp/sessions.ts";
import type { SharedChannelOptions } from "../../mqtt/agent-channel/further-connection.ts";
import type { Channel } from "../../mqtt/contract.ts";
import { withMcp } from "../../mqtt/mcp/mcp.ts";
import { mcpServerOptions, type ClientPorts } from "./ask-as-clients.ts";

/** The channel, which programs can use as well, by MCP over MQTT. */
export function serveMcp(
  channel: Channel,
  options: SharedChannelOptions,
  ports: ClientPorts,
): Channel {
  const { log } = options;
  const sessions = new McpSessions({ ...mcpServerOptions(options.channel, ports), log });
  return withMcp(channel, { ...options, sessions });
}
