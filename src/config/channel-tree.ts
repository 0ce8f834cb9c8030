import * as v from "valibot";
import { brokerCredentials } from "./broker.ts";
import { channelType } from "./compat/go/migrate.ts";
import type { Origin } from "./contract.ts";
import {
  branch,
  branchAt,
  childOf,
  leaf,
  mergeBranches,
  textAt,
  withChild,
  withDeepChild,
} from "./tree.ts";
import type { Branch } from "./tree.ts";
import { flag } from "./values.ts";

/** The names of the channels of type mqtt, in the order of the file. */
export function mqttNames(tree: Branch): string[] {
  const channels = branchAt(tree, "channel_list")?.entries ?? new Map();
  return [...channels].flatMap(([name, entry]) =>
    entry.kind === "branch" && channelType(name, entry) === "mqtt" ? [name] : [],
  );
}

export function isEnabled(entry: Branch): boolean {
  return v.safeParse(flag(), childOf(entry, "enabled")).output === true;
}

/** Whether an entry says that it is switched off; to say nothing is another thing. */
export function isDisabled(entry: Branch): boolean {
  return v.safeParse(flag(), childOf(entry, "enabled")).output === false;
}

/** The tree with settings for every enabled channel of type mqtt, or for a new one where none is. */
export function withSettings(tree: Branch, settings: Branch): Branch {
  const enabled = mqttNames(tree).filter((name) => isEnabled(channelAt(tree, name)));
  if (enabled.length === 0) {
    const { origin } = settings;
    const entries = { enabled: leaf(true, origin), type: leaf("mqtt", origin), settings };
    return changed(tree, "mqtt", (entry) =>
      mergeBranches(entry, branch(Object.entries(entries), origin)),
    );
  }
  const added = branch([["settings", settings]], settings.origin);
  return enabled.reduce(
    (result, name) => changed(result, name, (entry) => mergeBranches(entry, added)),
    tree,
  );
}

/**
 * The tree with user name and password taken out of broker URLs, since those are shown. They are
 * used where no user name is given, or where the URL comes from a higher layer than it.
 */
export function withoutUrlCredentials(tree: Branch): Branch {
  return mqttNames(tree).reduce((result, name) => changed(result, name, withCredentials), tree);
}

function withCredentials(entry: Branch): Branch {
  const settings = branchAt(entry, "settings");
  const url = childOf(settings, "broker");
  if (settings === undefined || url?.kind !== "leaf" || typeof url.value !== "string") return entry;
  const { broker, username, password } = brokerCredentials(url.value);
  if (broker === url.value) return entry;
  let result = withChild(settings, "broker", leaf(broker, url.origin));
  const given = childOf(settings, "username");
  const isGiven = given !== undefined && textAt(settings, "username") !== "";
  if (username !== undefined && !(isGiven && layerOf(given.origin) >= layerOf(url.origin))) {
    result = withChild(result, "username", leaf(username, url.origin));
    if (password !== undefined) {
      result = withChild(result, "password", leaf(password, url.origin));
    }
  }
  return withChild(entry, "settings", result);
}

function changed(tree: Branch, name: string, change: (entry: Branch) => Branch): Branch {
  return withDeepChild(tree, ["channel_list", name], change(channelAt(tree, name)));
}

function channelAt(tree: Branch, name: string): Branch {
  return branchAt(branchAt(tree, "channel_list"), name) ?? branch([], tree.origin);
}

function layerOf({ from }: Origin): number {
  return ["default", "file", "environment", "flag"].indexOf(from);
}
