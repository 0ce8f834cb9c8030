import { commented, gatewayLines, headOf, type ListFacts, OTHERS } from "./list.ts";
import type { Grant, Users } from "./rights.ts";

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

export function mosquitto(facts: ListFacts): string {
  const checked =
    "use_username_as_clientid (or certificates with use_identity_as_username as well)";
  const head = [
    ...headOf(facts, checked),
    "In mosquitto.conf:",
    "  allow_anonymous false",
    "  password_file /etc/mosquitto/passwd",
    "  acl_file /etc/mosquitto/picoclaw.acl",
    ...(facts.by === "client"
      ? ["  use_username_as_clientid true", ...fewerConnections(facts)]
      : []),
    `Users: mosquitto_passwd /etc/mosquitto/passwd ${facts.gateway}, and one for each device;`,
    "with certificates: require_certificate and use_identity_as_username true, in place of passwords.",
    ...KEEPING,
    ...OTHERS,
  ];
  return listOf(head, facts, [`topic read ${DROPPED}`]);
}

/** The broker gives all connections of the gateway's user the same client id. */
function fewerConnections({ rights }: ListFacts): readonly string[] {
  const connects = rights.gateway.some(
    ({ about }) => about !== undefined && about !== "homeassistant",
  );
  return connects
    ? [
        "That line makes each connection of the gateway's user end the one before, and what is configured needs several: use --by user.",
      ]
    : [];
}

/** Has no blank lines and ends with a newline: VerneMQ's parser loses lines otherwise. */
export function vernemq(facts: ListFacts): string {
  const head = [
    ...headOf(facts, "an authentication plugin that binds it to the user"),
    "In vernemq.conf:",
    "  allow_anonymous = off",
    "  plugins.vmq_passwd = on",
    "  plugins.vmq_acl = on",
    "  vmq_acl.acl_file = /etc/vernemq/vmq.acl",
    `Users: vmq-passwd /etc/vernemq/vmq.passwd ${facts.gateway}, and one for each device.`,
    ...OTHERS,
  ];
  return listOf(head, facts, []);
}

/** Patterns apply to everyone; topics after a user apply to that user. */
function listOf(
  head: readonly string[],
  { rights, gateway, by }: ListFacts,
  more: readonly string[],
): string {
  const own = by === "user" ? "%u" : "%c";
  const lines = [
    ...commented("#", head),
    ...linesOf("pattern", [...rights.clients(own), ...rights.everyone]),
    `user ${gateway}`,
    ...gatewayLines("#", rights, (grants) => linesOf("topic", grants)),
    ...more,
    ...rights.users.flatMap(userLines),
  ];
  return `${lines.join("\n")}\n`;
}

function userLines({ names, grants, template }: Users): readonly string[] {
  const lines = names.flatMap((name) => [`user ${name}`, ...linesOf("topic", grants(name))]);
  return template === undefined ? lines : commented("#", [template, ...lines]);
}

function linesOf(kind: "pattern" | "topic", grants: readonly Grant[]): readonly string[] {
  return grants.map(({ access, topic }) => `${kind} ${access} ${topic}`);
}
