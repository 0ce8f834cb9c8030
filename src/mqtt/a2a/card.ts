import type { MqttSettings } from "../../config/contract.ts";

/** The versions of the protocol and of its binding to MQTT. */
const PROTOCOL = { protocolBinding: "MQTTv5+JSONRPCv2", protocolVersion: "1.0.0" } as const;
const TEXT = "text/plain";

/** The Agent Card (A2A 1.0 section 4.4.1). It says nothing of the owner, the model and the tools. */
export function cardOf(
  { a2a, agent_id, broker }: Pick<MqttSettings, "a2a" | "agent_id" | "broker">,
  version: string,
): string {
  const description = a2a.description || "An AI agent behind an MQTT topic.";
  const [url = ""] = broker;
  return JSON.stringify({
    name: a2a.name || agent_id,
    description,
    version,
    supportedInterfaces: [{ url: urlOf(url), ...PROTOCOL }],
    capabilities: { streaming: true },
    defaultInputModes: [TEXT],
    defaultOutputModes: [TEXT],
    skills: [{ id: "ask", name: "Ask", description, tags: ["mqtt"] }],
  });
}

/** The broker by the schemes that others know; where only this machine reaches it, that is all it says. */
function urlOf(broker: string): string {
  const [, scheme = "", rest = ""] = /^(\w+):\/\/([^?#]*)/.exec(broker) ?? [];
  const known: Readonly<Record<string, string>> = {
    tcp: "mqtt",
    embedded: "mqtt",
    ssl: "mqtts",
    tls: "mqtts",
  };
  return rest === "" || scheme === "unix"
    ? "mqtt://localhost"
    : `${known[scheme] ?? scheme}://${rest}`;
}
