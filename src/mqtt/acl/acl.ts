import { Failure } from "../../base/failure.ts";
import type { MqttSettings } from "../../config/contract.ts";
import { HOME_ASSISTANT } from "../../config/keys/channel.ts";
import { mcpAddressOf } from "../protocol/topics.ts";
import { emqx } from "./emqx.ts";
import { hivemq } from "./hivemq.ts";
import type { AclIdentity, Writer } from "./list.ts";
import { mosquitto, vernemq } from "./mosquitto.ts";
import { rightsOf, type ToolTopics } from "./rights.ts";

/** Brokers whose access lists we can write. */
export const ACL_BROKERS = ["mosquitto", "emqx", "hivemq", "vernemq"] as const;
export type AclBroker = (typeof ACL_BROKERS)[number];

export interface AclFacts {
  readonly settings: MqttSettings;
  /** The gateway's user name at the broker. */
  readonly gateway: string;
  readonly by: AclIdentity;
  readonly tools: ToolTopics;
}

const WRITERS: Readonly<Record<AclBroker, Writer>> = { mosquitto, emqx, hivemq, vernemq };

/** Blanks, control and invisible characters, and characters with a meaning in the format of a broker. */
const UNSAFE = /[\s\p{C}"'`\\%$&<>{}#+,;]/u;
/** The same for topic filters, whose levels may have blanks within. */
const UNSAFE_FILTER = /[^\S ]|^ | $|[\p{C}"'`\\%&<>{},;]|(?<!^)\$/u;

/**
 * Returns an access list for the broker. A device may publish its own requests and read its own responses;
 * the gateway's user may do the reverse for all devices, and what the parts that are configured need; everyone may
 * read status and info; nothing else is allowed. The gateway knows a client only by its topic, so the broker must
 * enforce that topic and client match. Throws a `Failure` of code `config` for names that the broker's format could
 * misread.
 */
export function accessList(broker: AclBroker, facts: AclFacts): string {
  const { settings, gateway, by, tools } = facts;
  checkNames(facts);
  const rights = rightsOf(settings, gateway, tools);
  return WRITERS[broker]({ rights, gateway, by, notes: notesOf(tools) });
}

function checkNames({ settings, gateway, tools }: AclFacts): void {
  const { topic_prefix, agent_id, homeassistant, mcp } = settings;
  const usesPrefix = homeassistant.enabled || tools.findsDevices;
  for (const [what, name] of [
    ["topic_prefix", topic_prefix],
    ["agent_id", agent_id],
    ["username", gateway],
    [
      "homeassistant.discovery_prefix",
      usesPrefix ? homeassistant.discovery_prefix : HOME_ASSISTANT,
    ],
    ["mcp.server_name", mcp.enabled ? mcpAddressOf(settings).name : "mcp"],
  ] as const) {
    if (!UNSAFE.test(name) && name !== "") continue;
    throw new Failure("config", `the ${what} cannot be written into an access list`, {
      why: "it is empty, or has a blank, a quote or another character that a broker could misread",
      remedy: `choose a ${what} of letters, digits and _ . : @ -`,
    });
  }
  const filters = [...tools.read, ...tools.publish, ...tools.watched, ...tools.asked];
  const wrong = filters.find((filter) => UNSAFE_FILTER.test(filter));
  if (wrong === undefined) return;
  throw new Failure("config", "a topic cannot be written into an access list", {
    why: `${JSON.stringify(wrong)} has a character that a broker could misread`,
    remedy:
      "write + in place of that level, in tools.profiles or tools.mqtt.watch; or choose another name",
  });
}

/** What a list cannot say by its rules. */
function notesOf(tools: ToolTopics): readonly string[] {
  const isAll = [...tools.read, ...tools.publish].some((filter) => /^[+#]/.test(filter));
  return [
    ...(isAll
      ? [
          "A profile lets clients read or publish everything: the list gets narrower where it names the base topics of the devices, such as zigbee2mqtt/#.",
        ]
      : []),
    ...(tools.isUnbounded
      ? [
          "tools.exec.allow_remote gives clients without a profile all topics: this list does not; to allow it, give the gateway's user the topic #.",
        ]
      : []),
  ];
}
