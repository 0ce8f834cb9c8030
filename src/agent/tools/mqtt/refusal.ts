import {
  coversFilter,
  filtersOverlap,
  isTopicFilter,
  isTopicName,
  matchesFilter,
} from "../../../base/topic-filter.ts";
import { shortened } from "../../../base/truncate.ts";
import { visible } from "../../../base/visible.ts";
import type { TopicRights } from "../../access/permissions.ts";

/** What somebody may do, and what nobody may. */
export interface TopicBounds {
  readonly rights: TopicRights;
  /** The agents' own topics begin with these: conversations of clients, and who is there. */
  readonly trees: readonly string[];
}

/** Why messages of a filter are not read, in words for the model; undefined where they may be. */
export function refusalOfReading(
  filter: string,
  { rights, trees }: TopicBounds,
): string | undefined {
  if (!isTopicFilter(filter)) return `${shown(filter)} is no filter of topics`;
  const tree = trees.find((own) => filtersOverlap(`${own}/#`, filter));
  if (tree !== undefined) {
    return `${shown(filter)} reaches topics of the agent itself (${tree}), which are not read`;
  }
  if (rights.read.some((allowed) => coversFilter(allowed, filter))) return undefined;
  return `this client may not read ${shown(filter)}, but ${listed(rights.read)}`;
}

/** Why nothing is published to a topic, in words for the model; undefined where it may be. */
export function refusalOfPublishing(
  topic: string,
  { rights, trees }: TopicBounds,
): string | undefined {
  if (!isTopicName(topic) || topic.startsWith("$")) {
    return `nothing can be published to ${shown(topic)}: a topic has no +, # and NUL, and no $ in front`;
  }
  if (trees.some((own) => matchesFilter(`${own}/#`, topic))) {
    return `${shown(topic)} is a topic of the agent itself, where only it publishes`;
  }
  if (rights.publish.some((allowed) => matchesFilter(allowed, topic))) return undefined;
  return `this client may not publish to ${shown(topic)}, but to ${listed(rights.publish)}`;
}

/** Characters of a topic, and of all filters, that an answer repeats. */
const MAX_TOPIC = 200;
const MAX_LIST = 500;

/** A topic as one short printable word. */
export function shown(topic: string): string {
  return visible(shortened(topic, MAX_TOPIC));
}

function listed(filters: readonly string[]): string {
  return filters.length === 0 ? "nothing" : shortened(filters.join(", "), MAX_LIST);
}
