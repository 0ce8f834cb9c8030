import type { MqttChannel } from "../../config/contract.ts";
import { createMcp, type Mcp } from "../../gateway/mcp/mcp.ts";
import { mcpServerOptions } from "../runtime/ask-as-clients.ts";
import { accessFor, type HttpSubject } from "./clients.ts";

export function openMcp(subject: HttpSubject, channel: MqttChannel): Mcp["serve"] {
  const { serve } = createMcp({
    ...mcpServerOptions(channel, subject.runtime),
    accessOf: accessFor("mcp", subject),
    log: subject.log,
  });
  return serve;
}
