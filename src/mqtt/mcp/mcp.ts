import { Failure } from "../../base/failure.ts";
import { createConnectedLog, taggedLog } from "../agent-channel/channel.ts";
import {
  FurtherConnection,
  publishOrWarn,
  type SharedChannelOptions,
} from "../agent-channel/further-connection.ts";
import type { Session } from "../client/session.ts";
import type { Channel } from "../contract.ts";
import type { Incoming } from "../protocol/message.ts";
import {
  mcpAddressOf,
  mcpClientFilters,
  mcpClientOf,
  mcpRpcTopic,
  mcpServerTopic,
  type McpAddress,
  type PublishTopic,
} from "../protocol/topics.ts";

/** What answers the clients. None of it may throw. */
interface McpSessions {
  /** `isControl`: the client is who the message says, which the topic does not tell. */
  receive(
    message: { readonly client: string; readonly text: string; readonly isControl: boolean },
    send: (text: string) => Promise<void>,
  ): void;
  /** The client has left. */
  end(client: string): void;
  close(): void;
}

export interface McpOptions extends SharedChannelOptions {
  readonly sessions: McpSessions;
}

/** Messages to clients that are not delivered yet. */
const MOST_PENDING = 256;
/** For one message, losses of the connection included. */
const SEND_MS = 60_000;
/** Bytes of a packet besides its payload and its topic, which has the server id as a property has. */
const PACKET_BYTES = 300;
const SERVER = "mcp-server";

/** The same channel, which also serves MCP clients over a separate connection. */
export function withMcp(channel: Channel, options: McpOptions): Channel {
  const server = new McpServer(options);
  return {
    ...channel,
    async handOver() {
      await Promise.all([channel.handOver?.(), server.handOver()]);
    },
    async close() {
      await Promise.all([channel.close(), server.close()]);
    },
  };
}

/**
 * A server of MCP over MQTT, revision 2025-03-26. A loss of its connection, or its end, leaves the channel as it is. Of
 * the gateways that share a store one serves; its clients' sessions end with its connection.
 */
class McpServer {
  readonly #options: McpOptions;
  readonly #address: McpAddress;
  readonly #control: PublishTopic;
  readonly #presence: PublishTopic;
  readonly #connection: FurtherConnection;
  readonly #log: ReturnType<typeof taggedLog>;
  #pending = 0;
  #hasDropped = false;

  constructor(options: McpOptions) {
    const { channel, log } = options;
    const { settings } = channel;
    this.#options = options;
    this.#address = mcpAddressOf(settings);
    this.#control = mcpServerTopic("control", this.#address);
    this.#presence = mcpServerTopic("presence", this.#address);
    this.#log = taggedLog(log, `${channel.name} mcp`);
    const logConnected = createConnectedLog(this.#log);
    this.#connection = new FurtherConnection({
      channel: options,
      clientId: this.#address.server,
      userProperties: { "MCP-COMPONENT-TYPE": SERVER, "MCP-META": "{}" },
      will: { topic: this.#presence, payload: "" },
      log: this.#log,
      onMessage: (message) => this.#receive(message),
      onSession: async (session) => {
        const { rpc, presence } = mcpClientFilters(this.#address);
        await session.subscribe([this.#control, presence], 1, { retained: false });
        await session.subscribe([rpc], 1, { noLocal: true });
        logConnected(session);
        void this.#announce(session);
      },
      sayOffline: async (session) => {
        await session.publish({ topic: this.#presence, payload: "", qos: 1, retain: true });
      },
      onEnd: () => options.sessions.close(),
      onFailure: ({ message, why, remedy }) =>
        this.#log.error("MCP clients cannot use this agent", { error: message, why, try: remedy }),
    });
  }

  /** Another gateway may serve at once. */
  handOver(): Promise<void> {
    return this.#connection.handOver();
  }

  /** Clears its presence and disconnects, within two seconds. */
  async close(): Promise<void> {
    await this.#connection.close();
  }

  /** Never rejects: after a loss the next session announces itself. */
  async #announce(session: Session): Promise<void> {
    const { agent_id: agent, mcp } = this.#options.channel.settings;
    const params = {
      server_name: this.#address.name,
      description: mcp.description || `The agent ${agent}, and what it can measure and set.`,
      meta: {},
    };
    const online = { jsonrpc: "2.0", method: "notifications/server/online", params };
    const payload = JSON.stringify(online);
    const presence = { topic: this.#presence, payload, qos: 1, retain: true } as const;
    const message = { ...presence, properties: this.#properties() };
    const warning = "the presence of the MCP server cannot be published";
    await publishOrWarn(session, message, this.#log, warning);
  }

  #receive({ topic, payload, retain, properties }: Incoming): undefined {
    if (retain) return;
    const { sessions, channel } = this.#options;
    const isControl = topic === this.#control;
    const from = isControl
      ? { kind: "control", client: properties?.mcpClient ?? "" }
      : mcpClientOf(this.#address, topic);
    const to = from && mcpRpcTopic(this.#address, from.client);
    if (to === undefined) this.#sayUnnamed(isControl);
    if (from === undefined || to === undefined) return;
    const { client } = from;
    if (from.kind === "presence") {
      if (isGone(payload)) sessions.end(client);
    } else if (payload.length > channel.settings.max_payload_bytes) {
      this.#log.debug("an MCP message is too long", { client });
    } else {
      const text = Buffer.from(payload).toString();
      sessions.receive({ client, text, isControl }, (answer) => this.#send(to, answer));
    }
  }

  /** Warns once: whoever may publish there could fill the log. */
  #sayUnnamed(isControl: boolean): void {
    if (!isControl) return;
    const level = this.#hasDropped ? "debug" : "warn";
    this.#hasDropped = true;
    this.#log[level]("a message of an MCP client is dropped: it does not say whose it is", {
      topic: this.#control,
      try: "let it connect with MQTT 5 and name its client id in the user property MCP-MQTT-CLIENT-ID",
    });
  }

  async #send(topic: PublishTopic, payload: string): Promise<void> {
    this.#checkSize(topic, payload);
    if (this.#pending >= MOST_PENDING) {
      throw new Failure("busy", "too many messages to MCP clients wait");
    }
    this.#pending += 1;
    try {
      const message = { topic, payload, qos: 1, properties: this.#properties() } as const;
      await this.#connection.current?.publish(message, AbortSignal.timeout(SEND_MS));
    } finally {
      this.#pending -= 1;
    }
  }

  #checkSize(topic: PublishTopic, payload: string): void {
    const { max_message_bytes: ours } = this.#options.channel.settings;
    const bytes = PACKET_BYTES + 2 * Buffer.byteLength(topic) + Buffer.byteLength(payload);
    for (const most of [ours, this.#connection.current?.session()?.maximumPacketBytes ?? 0]) {
      if (most > 0 && bytes > most) {
        throw new Failure("too_large", `the result is longer than a message of ${most} bytes`);
      }
    }
  }

  #properties() {
    const { server } = this.#address;
    return { userProperties: { "MCP-COMPONENT-TYPE": SERVER, "MCP-MQTT-CLIENT-ID": server } };
  }
}

/** A client says that it leaves, or its will does. */
function isGone(payload: Uint8Array): boolean {
  return payload.length === 0 || Buffer.from(payload).includes('"notifications/disconnected"');
}
