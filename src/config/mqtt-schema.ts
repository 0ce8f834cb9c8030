import * as v from "valibot";
import { parseBroker } from "./broker.ts";
import {
  choice,
  decimal,
  field,
  flag,
  integer,
  or,
  orEmpty,
  secret,
  section,
  text,
  texts,
  unquotedText,
  whole,
} from "./values.ts";

/** Bytes: the largest packet that MQTT can say (MQTT 5 section 1.5.5), with its header. */
const MAX_PACKET = 268_435_460;
const MANY = 1_000_000_000;
const DEFAULT_PREFIX = "/picoclaw";
const DEFAULT_KEEP_ALIVE = 60;

const PROTOCOL_VERSIONS: ReadonlyMap<string, "auto" | 5 | 4> = new Map<string, "auto" | 5 | 4>([
  ["auto", "auto"],
  ["5", 5],
  ["4", 4],
]);

export const TLS = {
  verify: v.exactOptional(flag()),
  ca_file: or(text(), ""),
  cert_file: or(text(), ""),
  key_file: or(text(), ""),
  server_name: or(text(), ""),
};

export const STREAMING = {
  enabled: or(flag(), true),
  interval_ms: or(integer(0, 60_000), 250),
};

/** Limits of the whole channel, and of the whole gateway. */
export const TOTAL_LIMITS = limits(0, 0, 0, 0);

/** Limits of each client. */
export const LIMITS = {
  ...limits(120, 60, 32, 50),
  total: orEmpty(section(TOTAL_LIMITS)),
};

/** `channel_list.<name>.settings` of a channel of type mqtt. */
export const MQTT_SETTINGS = {
  broker: or(broker(), ""),
  agent_id: or(text("levels of a topic: none blank, no + #, no leading $", isAgentId), ""),
  topic_prefix: or(topicPrefix(), DEFAULT_PREFIX),
  username: v.exactOptional(secret()),
  password: v.exactOptional(secret()),
  client_id: or(text("text of at most 65535 bytes without NUL", isMqttText), ""),
  keep_alive: or(keepAlive(), DEFAULT_KEEP_ALIVE),
  qos: or(
    whole("0, 1 or 2", (qos) => (qos === 0 || qos === 1 || qos === 2 ? qos : undefined)),
    0,
  ),
  protocol_version: or(choice('"auto", 5 or 4', PROTOCOL_VERSIONS), "auto"),
  tls: orEmpty(section(TLS)),
  streaming: orEmpty(section(STREAMING)),
  plain_text: or(flag(), false),
  max_message_bytes: or(maxMessageBytes(), 0),
  max_payload_bytes: or(integer(1, MAX_PACKET), 262_144),
  /** MQTT 5 section 3.1.2.11.2: four bytes, of which the largest means for ever. */
  session_expiry_secs: or(integer(0, 4_294_967_295), 3600),
  probe_secs: or(integer(0, 86_400), 60),
  limits: orEmpty(section(LIMITS)),
};

/** An entry of `channel_list` of type mqtt. */
export const CHANNEL = {
  enabled: or(flag(), false),
  type: or(text(), ""),
  allow_from: v.optional(texts(), () => []),
  deny_from: v.optional(texts(), () => []),
  admin_from: v.optional(texts(), () => []),
  settings: orEmpty(section(MQTT_SETTINGS)),
};

function limits(requests: number, burst: number, queued: number, toolCalls: number) {
  return {
    requests_per_minute: or(integer(0, MANY), requests),
    burst: or(integer(0, MANY), burst),
    queued: or(integer(0, MANY), queued),
    tokens_per_day: or(integer(0, Number.MAX_SAFE_INTEGER), 0),
    cost_per_day: or(decimal(0, MANY), 0),
    tool_calls_per_turn: or(integer(0, MANY), toolCalls),
  };
}

function broker() {
  return unquotedText((written) => {
    const address = written === "" ? undefined : parseBroker(written);
    return address?.kind === "invalid" ? `is no broker URL: ${address.reason}` : undefined;
  });
}

/** Contract section 1: without trailing slashes; empty or `/` means the default. */
function topicPrefix() {
  return field("text without + # and control characters that does not begin with $", (found) => {
    if (typeof found.value !== "string" || !isTopicText(found.value)) return undefined;
    return found.value.replace(/\/+$/, "") || DEFAULT_PREFIX;
  });
}

/** As in Go PicoClaw, 0 and less mean the default. MQTT 5 section 3.1.2.10 has two bytes for it. */
function keepAlive() {
  return whole("a number of seconds up to 65535", (seconds) =>
    seconds > 65_535 ? undefined : Math.max(seconds, 0) || DEFAULT_KEEP_ALIVE,
  );
}

function maxMessageBytes() {
  return whole(`0 (no limit) or a whole number from 128 to ${MAX_PACKET}`, (bytes) =>
    bytes === 0 || (bytes >= 128 && bytes <= MAX_PACKET) ? bytes : undefined,
  );
}

/** One level or several, as the Go program takes them. */
function isAgentId(levels: string): boolean {
  if (levels === "") return true;
  return isTopicText(levels) && levels.split("/").every((level) => level.trim() !== "");
}

/** MQTT 5 sections 1.5.4 and 4.7; brokers close on control characters, too. */
function isTopicText(topic: string): boolean {
  return topic.isWellFormed() && !topic.startsWith("$") && !/[+#\p{Cc}]/u.test(topic);
}

function isMqttText(written: string): boolean {
  return (
    written.isWellFormed() &&
    !written.includes("\0") &&
    new TextEncoder().encode(written).length <= 65_535
  );
}
