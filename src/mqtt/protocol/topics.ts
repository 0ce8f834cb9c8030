import { Failure } from "../../base/failure.ts";

/** Where one agent lives on a broker: a prefix without trailing slash, and a level or several. */
export interface AgentAddress {
  readonly prefix: string;
  readonly agent: string;
}

declare const checked: unique symbol;
/** A topic name that the validating function has passed; the only kind that can be published to. */
export type PublishTopic = string & { readonly [checked]: true };

/** MQTT 5 section 4.7.3: a topic is at most 65,535 bytes of UTF-8. */
const MAX_TOPIC_BYTES = 65_535;

const DEVICE_CLIENT = /^[A-Za-z0-9_.:@-]{1,128}$/;

/** The one subscription of a gateway (contract section 1): requests of every client, nothing else. */
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

/** Retained facts about the gateway that serves the agent. */
export function infoTopic(address: AgentAddress): PublishTopic {
  return publishTopic(`${address.prefix}/${address.agent}/info`);
}

/**
 * The client that a topic belongs to, or undefined where the topic is no such one: other level count,
 * an empty client level, U+FFFD in it, which stands for bytes that were no UTF-8 and cannot be turned
 * back into the asker's own topic, or characters that no answer could be published with.
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
  const isOther = client.includes("/") || client.includes("\uFFFD") || REFUSED.test(client);
  return isOther ? undefined : client;
}

/**
 * The response topic that a request asked for (MQTT 5 section 4.10), or undefined where it must not be
 * honoured: it has to lie under the asking client's own level, because the gateway may publish where
 * the device may not. It must not be a request topic, where an answer would be a request, be it of an
 * agent whose prefix is this client's level; and it has no level that another system, to which a broker
 * hands messages on, could take for a way up.
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
 * What makes a broker close the connection: wildcards and NUL have to (MQTT 5 sections 3.3.2.1 and 4.7),
 * other control characters and noncharacters may (section 1.5.4).
 */
const REFUSED = /[+#\p{Cc}\p{Noncharacter_Code_Point}]/u;

/**
 * THE validating function: every topic that this program publishes to passes it. The client library looks
 * at none, and would send one that the broker refuses again after each reconnect.
 */
export function publishTopic(topic: string): PublishTopic {
  if (isPublishable(topic)) return topic;
  throw new Failure("bad_request", "the topic cannot be published to", {
    why: "an MQTT topic name is 1 to 65,535 bytes without +, # or control characters, and does not start with $",
  });
}

function isPublishable(topic: string): topic is PublishTopic {
  return (
    topic !== "" &&
    !REFUSED.test(topic) &&
    !topic.startsWith("$") &&
    topic.isWellFormed() &&
    Buffer.byteLength(topic) <= MAX_TOPIC_BYTES
  );
}

/** Whether `send` and `listen` take this as a client: the safe part of what a topic level can hold. */
export function isDeviceClient(client: string): boolean {
  return DEVICE_CLIENT.test(client) && client !== "." && client !== "..";
}
