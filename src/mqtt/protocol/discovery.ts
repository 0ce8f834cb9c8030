import { createHash } from "node:crypto";
import type { MqttSettings } from "../../config/contract.ts";
import { DEFAULT_PREFIX } from "../../config/keys/channel.ts";
import { publishTopic, type PublishTopic } from "./topics.ts";

/** Where Home Assistant says `online` when it has started. */
export const HOME_ASSISTANT_STATUS = "homeassistant/status";

/** Characters of the agent id in it. */
const LONGEST_AGENT = 64;

/**
 * Where Home Assistant finds the agent as a device. The level of the device has only the letters, digits, `_` and `-`
 * that Home Assistant takes; a hash tells agents apart that would have the same one.
 */
export function discoveryTopic({
  topic_prefix,
  agent_id,
  homeassistant,
}: Pick<MqttSettings, "topic_prefix" | "agent_id" | "homeassistant">): PublishTopic {
  const plain = agent_id.replaceAll(/[^a-zA-Z0-9_-]/g, "_").slice(0, LONGEST_AGENT);
  const address = `${topic_prefix}/${agent_id}`;
  const hash = createHash("sha256").update(address).digest("hex").slice(0, 8);
  const device = address === `${DEFAULT_PREFIX}/${plain}` ? plain : `${plain}_${hash}`;
  return publishTopic(`${homeassistant.discovery_prefix}/device/picoclaw_${device}/config`);
}
