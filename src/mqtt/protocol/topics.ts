import { Failure } from "../../base/failure.ts";
import type { MqttSettings } from "../../config/contract.ts";

/** The topics of one agent begin with its prefix (no trailing slash) and its id (one level or several). */
export interface AgentAddress {
  readonly prefix: string;
  readonly agent: string;
}

export function agentAddressOf({
  topic_prefix: prefix,
  agent_id: agent,
}: Pick<MqttSettings, "topic_prefix" | "agent_id">): AgentAddress {
  return { prefix, agent };
}

declare const checked: unique symbol;
/** A topic name that `publishTopic` has validated; only these can be published to. */
export type PublishTopic = string & { readonly [checked]: true };

/** MQTT 5 section 4.7.3: a topic is at most 65,535 bytes of UTF-8. */
const MAX_TOPIC_BYTES = 65_535;

/** A longer client level, with the rest of a topic, may exceed that. */
const MAX_CLIENT_BYTES = 32_768;

/** The only subscription of a gateway (contract section 1): requests of all clients. */
export function requestFilter(address: AgentAddress): string {
  return `${address.prefix}/${address.agent}/+/request`;
}

export function requestTopic(address: AgentAddress, client: string): PublishTopic {
  return publishTopic(`${address.prefix}/${address.agent}/${client}/request`);
}

export function responseTopic(address: AgentAddress, client: string): PublishTopic {
  return publishTopic(`${address.prefix}/${address.agent}/${client}/response`);
}

/** Retained `online` or `offline`, and the gateway's will. */
export function statusTopic(address: AgentAddress): PublishTopic {
  return publishTopic(`${address.prefix}/${address.agent}/status`);
}

/** Retained JSON about the gateway that serves the agent. */
export function infoTopic(address: AgentAddress): PublishTopic {
  return publishTopic(`${address.prefix}/${address.agent}/info`);
}

/**
 * The client of a request or response topic. Undefined for other topics: another number of levels, an empty
 * client level, characters that cannot be published, or U+FFFD, which stands for bytes that were not UTF-8,
 * so that the client's own topic is unknown.
 */
export function clientIdOf(
  address: AgentAddress,
  topic: string,
  direction: "request" | "response",
): string | undefined {
  const start = `${address.prefix}/${address.agent}/`;
  const end = `/${direction}`;
  if (!topic.startsWith(start) || !topic.endsWith(end)) return undefined;
  const client = topic.slice(start.length, topic.length - end.length);
  if (topic.length < start.length + end.length + 1) return undefined;
  return isClientId(client) ? client : undefined;
}

/** Whether a client of that id has topics: it is one level, and can be published to. */
export function isClientId(client: string): boolean {
  const isOther = client.includes("/") || client.includes("\uFFFD") || REFUSED.test(client);
  return client !== "" && !isOther;
}

/**
 * The response topic of a request (MQTT 5 section 4.10); undefined if it is not allowed. It must lie under
 * the client's own level, because the gateway may publish where the device may not. It must not be a request
 * topic, where the answer would be a request, perhaps of an agent whose prefix is this client's level. It
 * must have no level `.` or `..`, because a system behind the broker could read it as a path.
 */
export function allowedResponseTopic(
  address: AgentAddress,
  client: string,
  asked: string,
): PublishTopic | undefined {
  const own = `${address.prefix}/${address.agent}/${client}/`;
  if (!asked.startsWith(own) || asked.startsWith("$")) return undefined;
  const rest = asked.slice(own.length);
  const levels = rest.split("/");
  if (rest === "" || levels.at(-1) === "request" || asked.includes("\uFFFD")) return undefined;
  if (levels.includes(".") || levels.includes("..")) return undefined;
  return isPublishable(asked) ? asked : undefined;
}

/**
 * Characters for which a broker closes the connection: it must for wildcards and NUL (MQTT 5 sections
 * 3.3.2.1 and 4.7), and may for other control characters and noncharacters (section 1.5.4).
 */
const REFUSED = /[+#\p{Cc}\p{Noncharacter_Code_Point}]/u;

/**
 * THE validating function: every topic that this program publishes to passes it. The client library does not
 * validate topics, and after each reconnect it sends one again that makes the broker close the connection.
 */
export function publishTopic(topic: string): PublishTopic {
  if (isPublishable(topic)) return topic;
  throw new Failure("bad_request", "the topic cannot be published to", {
    why: "an MQTT topic name is 1 to 65,535 bytes without +, # or control characters, and does not start with $",
  });
}

function isPublishable(topic: string): topic is PublishTopic {
  return !topic.startsWith("$") && isTopicName(topic);
}

function isTopicName(topic: string): topic is PublishTopic {
  return (
    topic !== "" &&
    !REFUSED.test(topic) &&
    topic.isWellFormed() &&
    Buffer.byteLength(topic) <= MAX_TOPIC_BYTES
  );
}

/** An agent as A2A over MQTT names it. */
export interface A2aAddress {
  readonly org: string;
  readonly unit: string;
  readonly agent: string;
}

export function a2aAddressOf({
  agent_id: id,
  a2a: { org, unit, agent },
}: Pick<MqttSettings, "agent_id" | "a2a">): A2aAddress {
  return { org, unit, agent: agent || id };
}

/** The topics of an agent (A2A over MQTT 0.1); with those of MCP the only ones with `$` that this program publishes to. */
export function a2aTopic(
  kind: "discovery" | "request",
  { org, unit, agent }: A2aAddress,
): PublishTopic {
  const topic = `$a2a/v1/${kind}/${org}/${unit}/${agent}`;
  if ([org, unit, agent].every(isA2aId) && isTopicName(topic)) return topic;
  throw new Failure("config", "the ids of A2A consist of letters, digits, _ . and -");
}

/** Where the answers to a requester go, and what follows there. */
export function a2aReplies({ org, unit }: A2aAddress, requester: string): string {
  return `$a2a/v1/reply/${org}/${unit}/${requester}`;
}

/** One of the ids of A2A over MQTT 0.1. */
export function isA2aId(id: string): boolean {
  return /^[A-Za-z0-9_.-]+$/.test(id);
}

/** Bytes of a Response Topic of A2A: each piece of an answer carries it. */
const MAX_A2A_REPLY_BYTES = 1_024;

/**
 * The Response Topic of an A2A request, and the requester that it names; undefined if it is not allowed: the gateway
 * may publish where a requester may not.
 */
export function a2aReplyTopic(
  own: A2aAddress,
  asked: string,
): { readonly topic: PublishTopic; readonly requester: string } | undefined {
  const start = a2aReplies(own, "");
  if (!asked.startsWith(start) || !isTopicName(asked) || asked.includes("\uFFFD")) return undefined;
  if (Buffer.byteLength(asked) > MAX_A2A_REPLY_BYTES) return undefined;
  const [requester = "", ...suffix] = asked.slice(start.length).split("/");
  if (!isA2aId(requester) || [requester, ...suffix].some((level) => /^\.*$/.test(level))) {
    return undefined;
  }
  return { topic: asked, requester };
}

/** A server of MCP over MQTT: the client id of its connection, and a name of one level or several. */
export interface McpAddress {
  readonly server: string;
  readonly name: string;
}

export function mcpAddressOf({
  agent_id: agent,
  mcp,
}: Pick<MqttSettings, "agent_id" | "mcp">): McpAddress {
  return {
    server: mcp.server_id || `picoclaw-mcp-${agent.replace(/[^A-Za-z0-9_.-]/g, "-")}`,
    name: mcp.server_name || `picoclaw/${agent}`,
  };
}

/** The topics of a server (MCP over MQTT, 2025-03-26). */
export function mcpServerTopic(
  kind: "control" | "presence",
  { server, name }: McpAddress,
): PublishTopic {
  const start = kind === "presence" ? "$mcp-server/presence" : "$mcp-server";
  const topic = `${start}/${server}/${name}`;
  if (isClientId(server) && isTopicName(topic)) return topic;
  throw new Failure("config", "the ids of MCP over MQTT have no +, # or control characters");
}

/** Where a client and the server speak; undefined if it is no id of a client. */
export function mcpRpcTopic(
  { server, name }: McpAddress,
  client: string,
): PublishTopic | undefined {
  const topic = `$mcp-rpc/${client}/${server}/${name}`;
  return isClientId(client) && isTopicName(topic) ? topic : undefined;
}

/** What a server reads of all clients. */
export function mcpClientFilters({ server, name }: McpAddress, client = "+") {
  return {
    rpc: `$mcp-rpc/${client}/${server}/${name}`,
    presence: `$mcp-client/presence/${client}`,
  };
}

/** The client that such a topic names. */
export function mcpClientOf(
  { server, name }: McpAddress,
  topic: string,
): { readonly kind: "rpc" | "presence"; readonly client: string } | undefined {
  const [root = "", first = "", second = ""] = topic.split("/", 3);
  if (root === "$mcp-client" && first === "presence" && topic === `${root}/${first}/${second}`) {
    return { kind: "presence", client: second };
  }
  if (root !== "$mcp-rpc" || topic !== `${root}/${first}/${server}/${name}`) return undefined;
  return { kind: "rpc", client: first };
}

/**
 * Whether a program of ours may ask as this client: its topics can be published to, and neither a system behind the
 * broker could read its level as a path, nor a person as nothing. A gateway serves more: any level.
 */
export function isDeviceClient(client: string): boolean {
  if (client.trim() === "" || client === "." || client === "..") return false;
  const isLevel = !client.includes("/") && !client.includes("\uFFFD") && !REFUSED.test(client);
  return isLevel && client.isWellFormed() && Buffer.byteLength(client) <= MAX_CLIENT_BYTES;
}
