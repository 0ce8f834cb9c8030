import { Failure } from "../../base/failure.ts";

/** Brokers that an access list can be written for. */
export const ACL_BROKERS = ["mosquitto", "emqx", "hivemq", "vernemq"] as const;
export type AclBroker = (typeof ACL_BROKERS)[number];

/** What a device is known by at the broker: that has to stand in its topics. */
export type AclIdentity = "user" | "client";

export interface AclFacts {
  readonly prefix: string;
  readonly agent: string;
  /** The gateway's user name at the broker. */
  readonly gateway: string;
  readonly by: AclIdentity;
}

/** Blanks, control and invisible characters, and what means something to the format of one broker or another. */
const UNSAFE = /[\s\p{C}"'`\\%$&<>{}#+,;]/u;

/**
 * An access list for the broker: a device may publish its own requests and read its own responses, the
 * gateway's user does the reverse for all, everyone, the gateway too, may read status and info, and nothing else is allowed.
 * The gateway knows a client by its topic alone, so the broker must hold the two together. Throws a
 * `Failure` of code `config` for names that the broker's format could misread.
 */
export function accessList(broker: AclBroker, facts: AclFacts): string {
  for (const [what, name] of [
    ["topic_prefix", facts.prefix],
    ["agent_id", facts.agent],
    ["username", facts.gateway],
  ] as const) {
    if (!UNSAFE.test(name) && name !== "") continue;
    throw new Failure("config", `the ${what} cannot be written into an access list`, {
      why: "it is empty, or holds a blank, a quote or another character that brokers read in their own way",
      remedy: `choose a ${what} of letters, digits and _ . : @ -`,
    });
  }
  return WRITERS[broker](facts, `${facts.prefix}/${facts.agent}`);
}

type Writer = (facts: AclFacts, root: string) => string;

const WRITERS: Readonly<Record<AclBroker, Writer>> = { mosquitto, emqx, hivemq, vernemq };

const PURPOSE = [
  "The gateway knows a client by the level of the topic it asks on, and by nothing else:",
  "this list makes that level the identity that the broker has checked.",
];

const OF_CLIENT = "the client id, which must be checked too:";

function identity(by: AclIdentity, checked: string): string[] {
  if (by === "client") return [`A device is known by ${OF_CLIENT} ${checked}.`];
  return [
    "A device is known by its user name: each device has its own user, and asks as that client.",
  ];
}

const OTHERS = [
  "A response topic of a device's own (MQTT 5) needs two lines more: the gateway writes it, the device reads it.",
  "picoclaw send asks as a device: give it that device's user with --user.",
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
    "use_username_as_clientid (or certificates with use_identity_as_username beside it)";
  const head = [...PURPOSE, ...identity(facts.by, checked), ...settings, ...OTHERS];
  return `${lines("#", head)}${patterns(facts, root)}`;
}

/** Without blank lines and with a newline at the end: VerneMQ's parser loses lines otherwise. */
function vernemq(facts: AclFacts, root: string): string {
  const settings = [
    "In vernemq.conf:",
    "  allow_anonymous = off",
    "  plugins.vmq_passwd = on",
    "  plugins.vmq_acl = on",
    "  vmq_acl.acl_file = /etc/vernemq/vmq.acl",
    `Users: vmq-passwd /etc/vernemq/vmq.passwd ${facts.gateway}, and one for each device.`,
  ];
  const checked = "an authentication plugin of yours that binds it to the user";
  const head = [...PURPOSE, ...identity(facts.by, checked), ...settings, ...OTHERS];
  return `${lines("#", head)}${patterns(facts, root)}`;
}

/** Patterns are for everyone; topics behind a user are for that one. */
function patterns({ by, gateway }: AclFacts, root: string): string {
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
    "",
  ].join("\n");
}

function topics(...some: readonly string[]): string {
  return some.map((topic) => `"${topic}"`).join(", ");
}

/** Rules are tried from top to bottom, and the first that matches decides; `eq` takes + as it is written. */
function emqx({ by, gateway }: AclFacts, root: string): string {
  const own = `${root}/${by === "user" ? "${username}" : "${clientid}"}`;
  const head = [
    ...PURPOSE,
    ...identity(by, "an authenticator that binds it to the user"),
    "EMQX 5: the file of the authorization source of type file (etc/acl.conf), before the rules of others.",
    "  authorization.no_match = deny, and an authenticator, so that nobody comes without credentials.",
    "The last line refuses all else, to other programs too: put their rules before it.",
    ...OTHERS,
  ];
  return [
    lines("%%", head).trimEnd(),
    `{allow, {username, "${gateway}"}, subscribe, [{eq, "${root}/+/request"}]}.`,
    `{allow, {username, "${gateway}"}, publish, [${topics(`${root}/+/response`, `${root}/status`, `${root}/info`)}]}.`,
    `{allow, all, publish, [${topics(`${own}/request`)}]}.`,
    `{allow, all, subscribe, [${topics(`${own}/response`, `${root}/status`, `${root}/info`)}]}.`,
    "{deny, all}.",
    "",
  ].join("\n");
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

function hivemq({ by }: AclFacts, root: string): string {
  const own = `${root}/${by === "user" ? "${{username}}" : "${{clientid}}"}`;
  const head = [
    ...PURPOSE,
    ...identity(by, "an extension that binds it to the user"),
    "HiveMQ: conf/credentials.xml of the File RBAC extension; what no role allows is refused.",
    "Users, with passwords of their own: the gateway's with the role picoclaw-gateway,",
    "each device with the role picoclaw-device.",
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
    ...seen.map((topic) => permission(topic, "PUBLISH", "RETAINED")),
    permission(`${root}/status`, "SUBSCRIBE", "ALL"),
  )}${role(
    "picoclaw-device",
    permission(`${own}/request`, "PUBLISH", "NOT_RETAINED"),
    permission(`${own}/response`, "SUBSCRIBE", "ALL"),
    ...seen.map((topic) => permission(topic, "SUBSCRIBE", "ALL")),
  )}
  </roles>
</file-rbac>
`;
}
