import type { JSONRPCMessage, Transport } from "@modelcontextprotocol/client";
import type { IPublishPacket, MqttClient } from "mqtt";

const GONE = JSON.stringify({ jsonrpc: "2.0", method: "notifications/disconnected" });

function serverOf(agent: string): string {
  return `picoclaw-mcp-${agent}/picoclaw/${agent}`;
}

export function mcpRpcTopic(client: string, agent: string): string {
  return `$mcp-rpc/${client}/${serverOf(agent)}`;
}

/** MCP over MQTT as a client speaks it to that agent. */
export class MqttTransport implements Transport {
  onmessage?: Transport["onmessage"];
  onclose?: () => void;
  readonly packets: IPublishPacket[] = [];
  readonly #mqtt: MqttClient;
  readonly #id: string;
  readonly #agent: string;

  constructor(mqtt: MqttClient, id: string, agent = "assistant") {
    this.#mqtt = mqtt;
    this.#id = id;
    this.#agent = agent;
  }

  async start(): Promise<void> {
    this.#mqtt.on("message", (_topic, payload, packet) => {
      this.packets.push(packet);
      this.onmessage?.(JSON.parse(String(payload)));
    });
    await this.#mqtt.subscribeAsync(mcpRpcTopic(this.#id, this.#agent), { qos: 1, nl: true });
  }

  async send(message: JSONRPCMessage): Promise<void> {
    const isFirst = "method" in message && message.method === "initialize";
    const userProperties = {
      "MCP-COMPONENT-TYPE": "mcp-client",
      "MCP-MQTT-CLIENT-ID": this.#id,
    };
    const topic = isFirst
      ? `$mcp-server/${serverOf(this.#agent)}`
      : mcpRpcTopic(this.#id, this.#agent);
    const options = { qos: 1, properties: { userProperties } } as const;
    await this.#mqtt.publishAsync(topic, JSON.stringify(message), options);
  }

  async close(): Promise<void> {
    if (this.#mqtt.connected) {
      await this.#mqtt.publishAsync(`$mcp-client/presence/${this.#id}`, GONE, { qos: 1 });
    }
    await this.#mqtt.endAsync();
    this.onclose?.();
  }
}
