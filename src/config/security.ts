import { nearestWord } from "../base/spelling.ts";
import { channelType, upgraded } from "./compat/go/migrate.ts";
import { withProvidersAsModels } from "./compat/go/migrate.ts";
import { lineOf, quotable } from "./findings.ts";
import type { Warning } from "./findings.ts";
import {
  branch,
  branchAt,
  childOf,
  list,
  mergeBranches,
  textAt,
  withChild,
  withDeepChild,
  withoutChild,
} from "./tree.ts";
import type { Branch, List, Tree } from "./tree.ts";

/**
 * Merges both files into one tree at version 3. `.security.yml` may have every shape at every version:
 * flat and nested channels, keys as a list or single, models by `name` or `name:index`.
 */
export function withSecurity(
  config: Branch,
  security: Branch,
): { readonly tree: Branch; readonly warnings: readonly Warning[] } {
  const lower = upgraded(config);
  const channels = branchAt(lower, "channel_list");
  const upper = upgraded(security, (name, entry) =>
    channelType(name, childOf(channels, name) ?? entry),
  );
  const others = withSearches(withoutChild(withoutChild(upper, "model_list"), "version"));
  const tree = withProvidersAsModels(mergeBranches(lower, others));
  const keys = upper.entries.get("model_list");
  const models = tree.entries.get("model_list") ?? list([], tree.origin);
  if (keys === undefined || models.kind !== "list") return { tree, warnings: [] };
  if (keys.kind !== "branch")
    return { tree, warnings: [warningOf("", keys, "is not a map of names")] };
  const { items, warnings } = withKeys(models, keys);
  return { tree: withChild(tree, "model_list", { ...models, items }), warnings };
}

/** `web` is `tools.web`, which wins. A search without keys removes none. */
function withSearches(security: Branch): Branch {
  const web = branchAt(security, "web");
  const tools = branchAt(security, "tools");
  const inner = branchAt(tools, "web");
  const both = web === undefined ? inner : inner === undefined ? web : mergeBranches(web, inner);
  if (both === undefined) return security;
  const entries = [...both.entries].map(([name, entry]): [string, Tree] => [
    name,
    entry.kind === "branch" ? withoutEmptyKeys(entry) : entry,
  ]);
  const searches = branch(entries, both.origin);
  return withDeepChild(withoutChild(security, "web"), ["tools", "web"], searches);
}

/** Merges each entry with `name:index`, counted among equal names, or with `name`. */
function withKeys(models: List, keys: Branch): { items: Tree[]; warnings: Warning[] } {
  const counts = new Map<string, number>();
  const used = new Set<string>();
  const items = models.items.map((entry) => {
    const name = textAt(entry, "model_name");
    const count = counts.get(name) ?? 0;
    counts.set(name, count + 1);
    const words = [name, `${name}:${count}`].filter((word) => branchAt(keys, word) !== undefined);
    for (const word of words) used.add(word);
    const secrets = branchAt(keys, words.at(-1) ?? "");
    if (entry.kind !== "branch" || secrets === undefined) return entry;
    return mergeBranches(entry, withoutEmptyKeys(secrets));
  });
  const warnings = [...keys.entries].flatMap(([key, entry]) => {
    if (used.has(key)) return [];
    if (entry.kind !== "branch") return [warningOf(key, entry, "is not a map with api_keys")];
    const nearest = nearestWord(key.replace(/:\d+$/, ""), counts.keys());
    const meant = nearest === undefined ? "" : `; did you mean ${quotable(nearest)}?`;
    return [warningOf(key, entry, `names no entry of model_list${meant}`)];
  });
  return { items, warnings };
}

/** An entry without keys must not remove those of config.json, as it does in Go PicoClaw. */
function withoutEmptyKeys(secrets: Branch): Branch {
  const keys = secrets.entries.get("api_keys");
  const isEmpty =
    keys?.kind === "list" ? keys.items.length === 0 : textAt(secrets, "api_keys") === "";
  return isEmpty ? withoutChild(secrets, "api_keys") : secrets;
}

function warningOf(key: string, { origin }: Tree, text: string): Warning {
  const path = key === "" ? ["model_list"] : ["model_list", key];
  return {
    message: lineOf({ origin, path, text: `${text}, so it has no effect` }),
    remedy: "write api_keys under the model_name of an entry, or under name:index",
  };
}
