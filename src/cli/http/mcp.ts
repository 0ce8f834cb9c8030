import { VERSION } from "../../base/version.ts";
import type { MqttChannel } from "../../config/contract.ts";
import { createCallLimit } from "../../gateway/http/call-limit.ts";
import type { McpTools } from "../../gateway/mcp/contract.ts";
import { createMcp, type Mcp } from "../../gateway/mcp/mcp.ts";
import { accessFor, askOn, type HttpSubject } from "./clients.ts";

export function openMcp(subject: HttpSubject, channel: MqttChannel): Mcp["serve"] {
  const { policies } = subject.runtime.clients;
  const { serve } = createMcp({
    agent: channel.settings.agent_id,
    version: VERSION,
    ask: askOn(channel, subject),
    tools: toolsOn(channel, subject),
    refusal: createCallLimit({ policies, channel: channel.name }, () => performance.now()),
    accessOf: accessFor("mcp", subject),
    log: subject.log,
  });
  return serve;
}

/** Tools as clients of the channel call them. A reload replaces the agent. */
function toolsOn({ name: channel }: MqttChannel, { runtime }: HttpSubject): McpTools {
  const isRemote = true;
  return {
    async offered(client) {
      return (await runtime.direct()).offered({ channel, client, isRemote });
    },
    async call(call) {
      return (await runtime.direct()).call({ ...call, channel, isRemote });
    },
  };
}
