import {
  permissionsOfProfiles,
  type Permissions,
  type ProfileEntry,
} from "../agent/access/permissions.ts";
import { A2A_CLIENTS, isPattern, UNVERIFIED_CLIENTS } from "../base/client-pattern.ts";
import { coversFilter } from "../base/topic-filter.ts";
import type { Config, MqttChannel } from "../config/contract.ts";
import type { ToolTopics } from "../mqtt/acl/rights.ts";
import { isA2aId } from "../mqtt/protocol/topics.ts";
import { askingClient } from "./runtime/ask-agent.ts";

/** The topics that the tools of a channel's clients use, and those that are watched. */
export function toolTopicsOf(config: Config, { name, settings }: MqttChannel): ToolTopics {
  const { tools, agents } = config;
  const { workspace, turn_profile: turnProfile } = agents.defaults;
  const profiles = permissionsOfProfiles({ tools, workspace, turnProfile });
  const filtersOf = (given: readonly string[], kind: "read" | "publish"): readonly string[] => {
    const having = profiles.filter(({ permissions }) => isGiven(permissions, given));
    return widest(having.flatMap(({ permissions }) => permissions.topics[kind]));
  };
  const some = profiles.map(({ permissions }) => permissions);
  return {
    findsDevices: some.some((permissions) => isGiven(permissions, DEVICES)),
    read: filtersOf(["mqtt", ...DEVICES], "read"),
    publish: filtersOf(["mqtt", "set_device"], "publish"),
    retains: some.some(({ allows, topics }) => allows("mqtt") && topics.publish.length > 0),
    watched: widest(
      tools.watch.filter(({ channel }) => channel === name).map(({ topic }) => topic),
    ),
    asked: widest(profiles.flatMap((profile) => askedBy(profile, settings.agent_id))),
    requesters: [
      ...new Set(tools.profiles.flatMap(({ pattern }) => requesterIn(pattern, settings) ?? [])),
    ],
    isUnbounded: tools.exec.allow_remote === true,
  };
}

const DEVICES = ["devices", "set_device"];

function isGiven({ allows }: Permissions, names: readonly string[]): boolean {
  return names.some((name) => allows(name));
}

/** Each filter once, without those that another one covers. */
function widest(filters: readonly string[]): readonly string[] {
  const each = [...new Set(filters)];
  return each.filter((one, index) => {
    const isCovered = (other: string, at: number): boolean =>
      at !== index && coversFilter(other, one) && (at < index || !coversFilter(one, other));
    return !each.some(isCovered);
  });
}

/** The levels of the agents that clients of a profile may ask, each with that of the client as which it is asked. */
function askedBy(
  { pattern, permissions: { allows, agents = [] } }: ProfileEntry,
  own: string,
): readonly string[] {
  if (!allows("ask_agent")) return [];
  const client = isPattern(pattern) ? "+" : levelOf(askingClient(own, pattern));
  return agents
    .filter((agent) => agent !== "" && !/[+#]/.test(agent))
    .map((agent) => `${isPattern(agent) ? "+" : agent}/${client}`);
}

/** A level that any broker's list can hold, or `+`. */
function levelOf(client: string): string {
  return /^[\w.:=-]+$/.test(client) ? client : "+";
}

/** The user that a profile for other agents names. */
function requesterIn(pattern: string, { a2a }: MqttChannel["settings"]): string | undefined {
  const start = a2a.verified_requesters ? A2A_CLIENTS : UNVERIFIED_CLIENTS;
  const name = pattern.startsWith(start) ? pattern.slice(start.length) : "";
  return isA2aId(name) ? name : undefined;
}
