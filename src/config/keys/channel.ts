import { isMqttText } from "../../base/topic-filter.ts";
import { brokers } from "../broker-list.ts";
import { GO_KEYS } from "../compat/go/keys.ts";
import { textAt } from "../tree.ts";
import type { Path, Tree } from "../tree.ts";
import {
  bool,
  choice,
  decimal,
  integer,
  scalar,
  secret,
  text,
  texts,
  wholeNumber,
} from "../values.ts";
import { MANY } from "./agents.ts";
import { group, items, key, named, optional } from "./key.ts";

/** Bytes: the largest packet that MQTT can say (MQTT 5 section 1.5.5), with its header. */
const MAX_PACKET = 268_435_460;
export const DEFAULT_PREFIX = "/picoclaw";
const DEFAULT_DISCOVERY_PREFIX = "homeassistant";
/** The client as which Home Assistant asks. */
export const HOME_ASSISTANT = "homeassistant";
/** Seconds. */
export const DEFAULT_KEEP_ALIVE = 60;

const TLS = group({
  verify: optional(bool(), "Whether the broker's certificate is verified.", {
    flag: "insecure",
    shown: "true with `ca_file`",
  }),
  ca_file: key(text(), "", "Certificates to verify the broker with (PEM).", { flag: "cafile" }),
  cert_file: key(text(), "", "Our certificate for the broker (PEM).", { flag: "cert" }),
  key_file: key(text(), "", "The key of `cert_file` (PEM).", { flag: "key" }),
  server_name: key(text(), "", "The name in the broker's certificate.", { shown: "the host" }),
});

/** Limits of a whole channel, and of the whole gateway. */
export const TOTAL_LIMITS = limits(0, 0, 0, 0);

/** How some clients of a channel are answered, by a pattern of their ids. */
export const CLIENT = group({
  accept: optional(accept(), "`accept` for these clients.", { shown: "the channel's" }),
  max_chars: optional(integer(0, 10_000), "`max_chars` for these clients.", {
    shown: "the channel's",
  }),
});

export const SETTINGS = group({
  broker: key(
    brokers(),
    "",
    "`tcp mqtt ssl tls mqtts ws wss unix` URL, or a [list](broker.md#several-addresses) of them; `embedded` is the built-in broker.",
    {
      variable: true,
      flag: "broker",
      shown: "required",
    },
  ),
  agent_id: key(
    text(
      "one or more levels of a topic, none of them blank, without + and #, not beginning with $",
      isAgentId,
    ),
    "",
    "One level of a topic or several: `kitchen`, `site/kitchen`.",
    { variable: true, flag: "agent", shown: "required" },
  ),
  topic_prefix: key(topicPrefix(DEFAULT_PREFIX), DEFAULT_PREFIX, "What all topics begin with.", {
    variable: true,
    flag: "prefix",
  }),
  username: optional(secret(), "The user name at the broker.", {
    variable: true,
    flag: "user",
    reference: true,
  }),
  password: optional(
    secret(),
    "The password at the broker; better in `.security.yml`, encrypted: [secrets](secrets.md).",
    { variable: true, flag: "password-file", reference: true },
  ),
  client_id: key(
    text("text of at most 65535 bytes without NUL", isMqttText),
    "",
    "The MQTT client id. The generated one is the same at each start from `qos` 1 on, and for all gateways that share a store.",
    { variable: true, shown: "`picoclaw-mqtt-{agent_id}-{8 hex}`" },
  ),
  keep_alive: key(
    keepAlive(),
    DEFAULT_KEEP_ALIVE,
    "Most seconds between two packets of ours (MQTT keep alive); 0 is 60, and so is less, with a warning.",
    { variable: true },
  ),
  qos: key(
    wholeNumber("0, 1 or 2", (qos) => (qos === 0 || qos === 1 || qos === 2 ? qos : undefined), {
      enum: [0, 1, 2],
    }),
    0,
    "Quality of service of requests and answers: 0, 1 or 2.",
    { variable: true },
  ),
  protocol_version: key(
    choice('"auto", 5 or 4', { auto: "auto", "5": 5, "4": 4 }),
    "auto",
    "`auto` tries MQTT 5, then 3.1.1; `5` or `4` is that one.",
    { flag: "mqtt" },
  ),
  tls: TLS,
  streaming: group({
    enabled: key(bool(), true, "Whether answers come in parts."),
    interval_ms: key(integer(0, 60_000), 250, "Least milliseconds between two parts."),
    progress_secs: key(
      integer(0, 3600),
      20,
      "Seconds without a part after which an empty one says that the agent still works; 0 is never.",
    ),
  }),
  plain_text: key(bool(), false, "Whether a payload that is no JSON object is the text itself."),
  accept: key(
    accept(),
    "application/json",
    'The form of answers to requests without `accept`; "text/plain" is the bare text, for displays.',
  ),
  max_chars: key(
    integer(0, 10_000),
    0,
    "Characters of an answer at most, for requests without `max_chars`; 0 is no limit.",
  ),
  clients: named(CLIENT),
  max_hops: key(
    integer(0, 100),
    2,
    "[Agents](agents.md#an-agent-asks-another-one) that a question may come through; 0 answers no agent.",
  ),
  max_message_bytes: key(
    maxMessageBytes(),
    0,
    "Bytes of a whole packet of ours; parts are cut to fit. 0 is no limit, 256 fits PubSubClient.",
  ),
  max_payload_bytes: key(
    integer(1, MAX_PACKET),
    262_144,
    "Bytes of a request, with its images; a larger one is answered with `too_large`. In JSON an image is a third larger.",
  ),
  // MQTT 5 section 3.1.2.11.2: four bytes, of which the largest means for ever.
  session_expiry_secs: key(
    integer(0, 4_294_967_295),
    3600,
    "Seconds for which the broker keeps requests while the gateway is away, from `qos` 1 on.",
  ),
  probe_secs: key(
    integer(0, 86_400),
    60,
    "Seconds between two checks that the broker [still delivers](broker.md); 0 is never.",
  ),
  homeassistant: group({
    enabled: key(
      bool(),
      false,
      "Whether the agent is a device in [Home Assistant](home-assistant.md).",
    ),
    discovery_prefix: key(
      topicPrefix(DEFAULT_DISCOVERY_PREFIX),
      DEFAULT_DISCOVERY_PREFIX,
      "The discovery prefix of Home Assistant's MQTT integration.",
    ),
  }),
  a2a: group({
    enabled: key(
      bool(),
      false,
      "Whether other agents can ask this one by [A2A over MQTT](agents.md#a2a-over-mqtt).",
    ),
    org: key(a2aId(), "", "The organization, the first level of its name.", { shown: "required" }),
    unit: key(a2aId(), "", "The unit, the second level of its name.", { shown: "required" }),
    agent: key(a2aId(), "", "The third level of its name.", { shown: "`agent_id`" }),
    name: key(text(), "", "Its name in the agent card.", { shown: "`agent_id`" }),
    description: key(text(), "", "What the agent card says that it can do."),
    verified_requesters: key(
      bool(),
      false,
      "Whether the broker checks that the Response Topic of a request is one of its user's: then each requester is a client that profiles can name.",
    ),
  }),
  mcp: group({
    enabled: key(
      bool(),
      false,
      "Whether programs can use this one as an [MCP server over MQTT](mcp-server.md#over-mqtt).",
    ),
    server_id: key(a2aId(), "", "The MQTT client id of that connection.", {
      shown: "`picoclaw-mcp-<agent_id>`",
    }),
    server_name: key(mcpName(), "", "The name by which programs find it: one level or several.", {
      shown: "`picoclaw/<agent_id>`",
    }),
    description: key(text(), "", "What it says there that it can do."),
  }),
  /** Limits of each client. */
  limits: group({ ...limits(120, 60, 32, 50).rows, total: TOTAL_LIMITS }),
});

/** An entry of `channel_list` of type mqtt. */
export const CHANNEL = group(
  {
    enabled: key(bool(), false, "Whether the channel is served."),
    type: key(text(), "", "`mqtt`.", { shown: "the channel's name" }),
    allow_from: items(texts(), "Client ids that may ask; none, or `*`, is everyone."),
    deny_from: items(texts(), "Client ids that may not ask, whatever `allow_from` says."),
    admin_from: items(
      texts(),
      "Client ids that may change things for everyone (`/switch`, `/reload`).",
    ),
    settings: SETTINGS,
  },
  GO_KEYS.channel,
);

export const CHANNEL_LIST = named(CHANNEL);

/** The type of a channel: its `type`, else its name. */
export function channelType(name: string, entry: Tree | undefined): string {
  return textAt(entry, "type") || name;
}

/** Whether a place is a channel of another type, which has other keys. */
export function isOtherChannel([list, name]: Path, entry: Tree): boolean {
  return list === "channel_list" && channelType(String(name), entry) !== "mqtt";
}

function limits(requests: number, burst: number, queued: number, toolCalls: number) {
  return group({
    requests_per_minute: key(
      integer(0, MANY),
      requests,
      "Requests in a minute; beyond it: `rate_limited`.",
    ),
    burst: key(integer(0, MANY), burst, "Requests that may come at once."),
    queued: key(integer(0, MANY), queued, "Requests that may wait; beyond it: `busy`."),
    tokens_per_day: key(
      integer(0, Number.MAX_SAFE_INTEGER),
      0,
      "Tokens of all model calls, in and out; beyond it: `budget`.",
    ),
    cost_per_day: key(decimal(0, MANY), 0, "The same in money, by `prices` of `model_list`."),
    tool_calls_per_turn: key(
      integer(0, MANY),
      toolCalls,
      "Tool calls of a turn and its subagents; after that the model must answer.",
    ),
  });
}

function a2aId() {
  return text("letters, digits, _ . and -", (id) => /^[A-Za-z0-9_.-]*$/.test(id));
}

function mcpName() {
  const level = /^[A-Za-z0-9_.-]+$/;
  return text("levels of letters, digits, _ . and -", (name) =>
    name === "" ? true : name.split("/").every((one) => level.test(one)),
  );
}

function accept() {
  return choice('"application/json" or "text/plain"', {
    "application/json": "application/json",
    "text/plain": "text/plain",
  });
}

/** Without trailing slashes; empty or `/` means the default. */
function topicPrefix(otherwise: string) {
  return scalar("text without + # and control characters that does not begin with $", (found) => {
    if (typeof found.value !== "string" || !isTopicText(found.value)) return undefined;
    return found.value.replace(/\/+$/, "") || otherwise;
  });
}

/** As in Go PicoClaw, 0 and less mean the default. MQTT 5 section 3.1.2.10 has two bytes for it. */
function keepAlive() {
  return wholeNumber("a number of seconds up to 65535", (seconds) =>
    seconds > 65_535 ? undefined : Math.max(seconds, 0) || DEFAULT_KEEP_ALIVE,
  );
}

function maxMessageBytes() {
  return wholeNumber(`0 (no limit) or a whole number from 128 to ${MAX_PACKET}`, (bytes) =>
    bytes === 0 || (bytes >= 128 && bytes <= MAX_PACKET) ? bytes : undefined,
  );
}

/** One level or several, as the Go program takes them. */
function isAgentId(levels: string): boolean {
  if (levels === "") return true;
  return isTopicText(levels) && levels.split("/").every((level) => level.trim() !== "");
}

/** MQTT 5 sections 1.5.4 and 4.7; brokers close on control characters and noncharacters, too. */
function isTopicText(topic: string): boolean {
  return (
    topic.isWellFormed() &&
    !topic.startsWith("$") &&
    !/[+#\p{Cc}\p{Noncharacter_Code_Point}]/u.test(topic)
  );
}
