import { Failure } from "../../base/failure.ts";
import type { MqttSettings } from "../../config/contract.ts";
import { HOME_ASSISTANT } from "../../config/keys/channel.ts";
import { discoveryTopic, HOME_ASSISTANT_STATUS } from "../protocol/discovery.ts";

/** Brokers whose access lists we can write. */
export const ACL_BROKERS = ["mosquitto", "emqx", "hivemq", "vernemq"] as const;
export type AclBroker = (typeof ACL_BROKERS)[number];

/** How the broker identifies a device; its topics contain this name. */
export type AclIdentity = "user" | "client";

export interface AclFacts {
  readonly prefix: string;
  readonly agent: string;
  /** The gateway's user name at the broker. */
  readonly gateway: string;
  readonly by: AclIdentity;
  /** If the agent is a device in Home Assistant. */
  readonly homeAssistant?: DiscoveryAccess;
}

/** What Home Assistant's discovery needs; the user of Home Assistant is `homeassistant`. */
export interface DiscoveryAccess {
  readonly prefix: string;
  /** Where the gateway publishes the device. */
  readonly topic: string;
}

export function discoveryAccess(settings: MqttSettings): DiscoveryAccess {
  return { prefix: settings.homeassistant.discovery_prefix, topic: discoveryTopic(settings) };
}

/** Blanks, control and invisible characters, and characters with a meaning in the format of a broker. */
const UNSAFE = /[\s\p{C}"'`\\%$&<>{}#+,;]/u;

/**
 * Returns an access list for the broker. A device may publish its own requests and read its own responses;
 * the gateway's user may do the reverse for all devices; everyone may read status and info; the user
 * `homeassistant`, if the agent is a device there, may also use the topics of the discovery; nothing else is
 * allowed. The gateway knows a client only by its topic, so the broker must enforce that topic and client
 * match. Throws a `Failure` of code `config` for names that the broker's format could misread.
 */
export function accessList(broker: AclBroker, facts: AclFacts): string {
  for (const [what, name] of [
    ["topic_prefix", facts.prefix],
    ["agent_id", facts.agent],
    ["username", facts.gateway],
    ["homeassistant.discovery_prefix", facts.homeAssistant?.prefix ?? HOME_ASSISTANT],
  ] as const) {
    if (!UNSAFE.test(name) && name !== "") continue;
    throw new Failure("config", `the ${what} cannot be written into an access list`, {
      why: "it is empty, or has a blank, a quote or another character that a broker could misread",
      remedy: `choose a ${what} of letters, digits and _ . : @ -`,
    });
  }
  return WRITERS[broker](facts, `${facts.prefix}/${facts.agent}`);
}

type Writer = (facts: AclFacts, root: string) => string;

const WRITERS: Readonly<Record<AclBroker, Writer>> = { mosquitto, emqx, hivemq, vernemq };

const PURPOSE = [
  "The gateway knows a client only by the client level of its topics.",
  "With this list the broker lets each device use only the level of its own name.",
];

function identity(by: AclIdentity, checked: string): string[] {
  if (by === "client") {
    return [`A device is identified by its client id, which must be checked, too: ${checked}.`];
  }
  return ["A device is identified by its user name: each device has its own user."];
}

const OTHERS = [
  "A response topic that a device chooses (MQTT 5) needs two more lines: the gateway writes it, the device reads it.",
  "picoclaw send acts as a device: give it that device's user with --user.",
];

function lines(marker: string, texts: readonly string[]): string {
  return texts.map((text) => `${marker} ${text}\n`).join("");
}

function mosquitto(facts: AclFacts, root: string): string {
  const settings = [
    "In mosquitto.conf:",
    "  allow_anonymous false",
    "  password_file /etc/mosquitto/passwd",
    "  acl_file /etc/mosquitto/picoclaw.acl",
    ...(facts.by === "client" ? ["  use_username_as_clientid true"] : []),
    `Users: mosquitto_passwd /etc/mosquitto/passwd ${facts.gateway}, and one for each device;`,
    "with certificates: require_certificate and use_identity_as_username true, in place of passwords.",
  ];
  const checked =
    "use_username_as_clientid (or certificates with use_identity_as_username as well)";
  const head = [...PURPOSE, ...identity(facts.by, checked), ...settings, ...KEEPING, ...OTHERS];
  return `${lines("#", head)}${patterns(facts, root)}topic read ${DROPPED}\n${homeAssistantUser(facts, root)}${debugging(facts, root)}`;
}

/** mosquitto's count of the messages that it dropped, which the gateway watches. */
const DROPPED = "$SYS/broker/publish/messages/dropped";

/** Lines of mosquitto.conf. With `max_queued_messages 0` mosquitto 2.0.11 disconnects who publishes what is forbidden. */
const KEEPING = [
  "In mosquitto.conf, so that it keeps every request that it has acknowledged (docs/delivery.md):",
  "  max_queued_messages 100000",
  "  max_queued_bytes 0",
  "  persistence true",
  "  persistence_location /var/lib/mosquitto/",
  "  autosave_interval 10",
  "and persistent_client_expiration, if at all, longer than session_expiry_secs of the channel.",
];

/** Has no blank lines and ends with a newline: VerneMQ's parser loses lines otherwise. */
function vernemq(facts: AclFacts, root: string): string {
  const settings = [
    "In vernemq.conf:",
    "  allow_anonymous = off",
    "  plugins.vmq_passwd = on",
    "  plugins.vmq_acl = on",
    "  vmq_acl.acl_file = /etc/vernemq/vmq.acl",
    `Users: vmq-passwd /etc/vernemq/vmq.passwd ${facts.gateway}, and one for each device.`,
  ];
  const checked = "an authentication plugin that binds it to the user";
  const head = [...PURPOSE, ...identity(facts.by, checked), ...settings, ...OTHERS];
  return `${lines("#", head)}${patterns(facts, root)}${homeAssistantUser(facts, root)}${debugging(facts, root)}`;
}

const DEBUGGING =
  "To debug with picoclaw send and listen as every client, add this user: remove the marks of these lines.";

/** A user for `send` and `listen`, at the end of the list: what follows a user is the user's. */
function debugging({ gateway }: AclFacts, root: string): string {
  return lines("#", [
    DEBUGGING,
    `user ${gateway}-debug`,
    `topic write ${root}/+/request`,
    `topic read ${root}/#`,
  ]);
}

/** Patterns apply to everyone; topics after a user apply to that user. */
function patterns({ by, gateway, homeAssistant }: AclFacts, root: string): string {
  const own = `${root}/${by === "user" ? "%u" : "%c"}`;
  return [
    `pattern write ${own}/request`,
    `pattern read ${own}/response`,
    `pattern read ${root}/status`,
    `pattern read ${root}/info`,
    `user ${gateway}`,
    `topic read ${root}/+/request`,
    `topic write ${root}/+/response`,
    `topic write ${root}/status`,
    `topic write ${root}/info`,
    ...(homeAssistant
      ? [`topic write ${homeAssistant.topic}`, `topic read ${HOME_ASSISTANT_STATUS}`]
      : []),
    "",
  ].join("\n");
}

/** The user of Home Assistant, which asks as the client of that name; it may use all of its own prefix. */
function homeAssistantUser({ homeAssistant }: AclFacts, root: string): string {
  if (homeAssistant === undefined) return "";
  return `${[
    `user ${HOME_ASSISTANT}`,
    `topic write ${root}/${HOME_ASSISTANT}/request`,
    `topic read ${root}/${HOME_ASSISTANT}/response`,
    `topic write ${HOME_ASSISTANT_STATUS}`,
    `topic readwrite ${homeAssistant.prefix}/#`,
  ].join("\n")}\n`;
}

function topics(...some: readonly string[]): string {
  return some.map((topic) => `"${topic}"`).join(", ");
}

/** The first rule that matches decides; `eq` takes + literally. */
function emqx({ by, gateway, homeAssistant }: AclFacts, root: string): string {
  const own = `${root}/${by === "user" ? "${username}" : "${clientid}"}`;
  const head = [
    ...PURPOSE,
    ...identity(by, "an authenticator that binds it to the user"),
    "EMQX 5: put this into the file of the authorization source of type file (etc/acl.conf), before other rules.",
    "  Set authorization.no_match = deny, and an authenticator, so that nobody connects without credentials.",
    "The last line denies everything else, also for other programs: put their rules before it.",
    ...OTHERS,
  ];
  return [
    lines("%%", head).trimEnd(),
    `{allow, {username, "${gateway}"}, subscribe, [{eq, "${root}/+/request"}]}.`,
    `{allow, {username, "${gateway}"}, publish, [${topics(`${root}/+/response`, `${root}/status`, `${root}/info`)}]}.`,
    ...(homeAssistant ? emqxHomeAssistant(homeAssistant, gateway, root) : []),
    `{allow, all, publish, [${topics(`${own}/request`)}]}.`,
    `{allow, all, subscribe, [${topics(`${own}/response`, `${root}/status`, `${root}/info`)}]}.`,
    lines("%%", [
      DEBUGGING,
      `{allow, {username, "${gateway}-debug"}, publish, [${topics(`${root}/+/request`)}]}.`,
      `{allow, {username, "${gateway}-debug"}, subscribe, [${topics(`${root}/#`)}]}.`,
    ]).trimEnd(),
    "{deny, all}.",
    "",
  ].join("\n");
}

function emqxHomeAssistant({ prefix, topic }: DiscoveryAccess, gateway: string, root: string) {
  const own = `${root}/${HOME_ASSISTANT}`;
  return [
    `{allow, {username, "${gateway}"}, publish, [${topics(topic)}]}.`,
    `{allow, {username, "${gateway}"}, subscribe, [${topics(HOME_ASSISTANT_STATUS)}]}.`,
    `{allow, {username, "${HOME_ASSISTANT}"}, publish, [${topics(`${own}/request`, HOME_ASSISTANT_STATUS, `${prefix}/#`)}]}.`,
    `{allow, {username, "${HOME_ASSISTANT}"}, subscribe, [${topics(`${own}/response`, `${prefix}/#`)}]}.`,
  ];
}

function permission(topic: string, activity: string, retain: string): string {
  return `
        <permission>
          <topic>${topic}</topic>
          <activity>${activity}</activity>
          <retain>${retain}</retain>
        </permission>`;
}

function role(id: string, ...permissions: readonly string[]): string {
  return `
    <role>
      <id>${id}</id>
      <permissions>${permissions.join("")}
      </permissions>
    </role>`;
}

function hivemq({ by, homeAssistant }: AclFacts, root: string): string {
  const own = `${root}/${by === "user" ? "${{username}}" : "${{clientid}}"}`;
  const head = [
    ...PURPOSE,
    ...identity(by, "an extension that binds it to the user"),
    "HiveMQ: conf/credentials.xml of the File RBAC extension; it denies what no role allows.",
    "Add users with passwords: the gateway's user has the role picoclaw-gateway,",
    "each device's user has the role picoclaw-device,",
    "a user for picoclaw send and listen as every client has the role picoclaw-debug.",
    ...(homeAssistant ? ["Home Assistant's user has the role picoclaw-home-assistant."] : []),
    ...OTHERS.map((text) => text.replace("--user", "the flag for the user")),
  ];
  const seen = [`${root}/status`, `${root}/info`];
  return `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<!--
${head.map((text) => `  ${text}`).join("\n")}
-->
<file-rbac>
  <users>
  </users>
  <roles>${role(
    "picoclaw-gateway",
    permission(`${root}/+/request`, "SUBSCRIBE", "ALL"),
    permission(`${root}/+/response`, "PUBLISH", "NOT_RETAINED"),
    permission(`${root}/status`, "PUBLISH", "RETAINED"),
    permission(`${root}/info`, "PUBLISH", "ALL"),
    ...(homeAssistant
      ? [
          permission(homeAssistant.topic, "PUBLISH", "RETAINED"),
          permission(HOME_ASSISTANT_STATUS, "SUBSCRIBE", "ALL"),
        ]
      : []),
    ...seen.map((topic) => permission(topic, "SUBSCRIBE", "ALL")),
  )}${role(
    "picoclaw-device",
    permission(`${own}/request`, "PUBLISH", "NOT_RETAINED"),
    permission(`${own}/response`, "SUBSCRIBE", "ALL"),
    ...seen.map((topic) => permission(topic, "SUBSCRIBE", "ALL")),
  )}${role(
    "picoclaw-debug",
    permission(`${root}/+/request`, "PUBLISH", "NOT_RETAINED"),
    permission(`${root}/#`, "SUBSCRIBE", "ALL"),
  )}${homeAssistant ? hivemqHomeAssistant(homeAssistant, root, seen) : ""}
  </roles>
</file-rbac>
`;
}

function hivemqHomeAssistant({ prefix }: DiscoveryAccess, root: string, seen: readonly string[]) {
  return role(
    "picoclaw-home-assistant",
    permission(`${root}/${HOME_ASSISTANT}/request`, "PUBLISH", "NOT_RETAINED"),
    permission(`${root}/${HOME_ASSISTANT}/response`, "SUBSCRIBE", "ALL"),
    ...seen.map((topic) => permission(topic, "SUBSCRIBE", "ALL")),
    permission(HOME_ASSISTANT_STATUS, "PUBLISH", "ALL"),
    permission(`${prefix}/#`, "ALL", "ALL"),
  );
}
