import { Failure } from "../../../base/failure.ts";
import { locationOf, quotable } from "../../findings.ts";
import { channelType, SETTINGS } from "../../keys/channel.ts";
import {
  branch,
  branchAt,
  childOf,
  leaf,
  list,
  merge,
  textAt,
  withChild,
  withDeepChild,
  withoutChild,
} from "../../tree.ts";
import type { Branch, Leaf, Origin, Tree } from "../../tree.ts";

const CURRENT_VERSION = 3;

/** A Failure if a file has a version that this program cannot read. */
export function versionFailure(tree: Branch): Failure | undefined {
  const version = tree.entries.get("version");
  if (version === undefined || isKnownVersion(version)) return undefined;
  const place = locationOf(version.origin);
  const found = version.kind === "leaf" ? quotable(JSON.stringify(version.value)) : version.kind;
  if (version.kind === "leaf" && typeof version.value === "number" && version.value > 0) {
    return new Failure("config", `${place}: version ${found} is unknown`, {
      why: `this program reads versions 0 to ${CURRENT_VERSION}`,
      remedy: "use a newer picoclaw, or restore the file from before it was upgraded",
    });
  }
  return new Failure("config", `${place}: version is not valid`, {
    why: `found ${found}, allowed is a whole number from 0 to ${CURRENT_VERSION}`,
    remedy: `write "version": ${CURRENT_VERSION}, or remove the line if the file had none before`,
  });
}

function isKnownVersion(version: Tree): boolean {
  const value = version.kind === "leaf" ? version.value : undefined;
  return (
    typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= CURRENT_VERSION
  );
}

/** The type of a channel by its name and its entry in a layer. */
export type TypeOf = (name: string, entry: Tree) => string;

/**
 * Migrates a layer of any version to version 3. It recognizes older forms by their keys, because files
 * that mix forms exist. If both forms are there, the newer one wins.
 */
export function upgraded(tree: Branch, typeOf: TypeOf = channelType): Branch {
  return withModelKeys(withModelName(withChannelList(tree, typeOf)));
}

/** `channels` is `channel_list` (V2→3), and its entries are nested. */
function withChannelList(tree: Branch, typeOf: TypeOf): Branch {
  const older = tree.entries.get("channels");
  const newer = tree.entries.get("channel_list");
  const rest = withoutChild(tree, "channels");
  if (older === undefined && newer === undefined) return tree;
  const layers = [older, newer].filter((layer) => layer !== undefined);
  const channels = layers.map((layer) => nestedAll(layer, typeOf)).reduce(merge);
  return withChild(rest, "channel_list", channels);
}

function nestedAll(channels: Tree, typeOf: TypeOf): Tree {
  if (channels.kind !== "branch") return channels;
  const entries = [...channels.entries].map(([name, entry]): [string, Tree] => {
    if (entry.kind !== "branch") return [name, entry];
    const grouped = withGroupTrigger(entry);
    return [name, typeOf(name, entry) === "mqtt" ? nested(grouped) : grouped];
  });
  return branch(entries, channels.origin);
}

/** Moves fields next to `enabled` into `settings` (V2→3). */
function nested(entry: Branch): Branch {
  let result = entry;
  for (const key of Object.keys(SETTINGS.rows)) {
    const flat = entry.entries.get(key);
    if (flat === undefined) continue;
    result = withoutChild(result, key);
    const settings = childOf(result, "settings") ?? branch([], entry.origin);
    if (settings.kind !== "branch" || settings.entries.has(key)) continue;
    result = withChild(result, "settings", withChild(settings, key, flat));
  }
  return result;
}

/** `mention_only` (V1→2) and `group_trigger_prefix` (V2→3) went into `group_trigger`. */
function withGroupTrigger(entry: Branch): Branch {
  let result = entry;
  for (const [older, newer] of [
    ["mention_only", "mention_only"],
    ["group_trigger_prefix", "prefixes"],
  ] as const) {
    const value = entry.entries.get(older);
    if (value === undefined) continue;
    result = withoutChild(result, older);
    const known = childOf(childOf(result, "group_trigger"), newer) !== undefined;
    if (!known) result = withDeepChild(result, ["group_trigger", newer], value);
  }
  return result;
}

/** `agents.defaults.model` is `model_name` (V0→1). */
function withModelName(tree: Branch): Branch {
  const agents = branchAt(tree, "agents");
  const defaults = branchAt(agents, "defaults");
  const model = childOf(defaults, "model");
  if (agents === undefined || defaults === undefined || model === undefined) return tree;
  const rest = withoutChild(defaults, "model");
  const named = textAt(defaults, "model_name") !== "";
  const result = named ? rest : withChild(rest, "model_name", model);
  return withChild(tree, "agents", withChild(agents, "defaults", result));
}

/** `api_key` is the first of `api_keys` (V0→1). */
function withModelKeys(tree: Branch): Branch {
  const models = tree.entries.get("model_list");
  if (models === undefined || models.kind === "leaf") return tree;
  const result =
    models.kind === "list"
      ? list(models.items.map(withKeyList), models.origin)
      : branch(
          [...models.entries].map(([name, entry]) => [name, withKeyList(entry)]),
          models.origin,
        );
  return withChild(tree, "model_list", result);
}

function withKeyList(entry: Tree): Tree {
  const single = childOf(entry, "api_key");
  if (entry.kind !== "branch" || single === undefined) return entry;
  const rest = withoutChild(entry, "api_key");
  const several = childOf(entry, "api_keys");
  if (several === undefined) return withChild(rest, "api_keys", single);
  if (single.kind !== "leaf") return rest;
  const further = several.kind === "list" ? several.items : [several];
  const others = further.filter((key) => key.kind !== "leaf" || key.text !== single.text);
  return withChild(rest, "api_keys", list([single, ...others], several.origin));
}

interface ProviderFacts {
  readonly protocol: string;
  /** The model that Go PicoClaw uses if none is named. */
  readonly model: string;
  /** Further names in `agents.defaults.provider`. */
  readonly aliases: readonly string[];
}

function meaning(protocol: string, model: string, ...aliases: string[]): ProviderFacts {
  return { protocol, model, aliases };
}

/** The keys of `providers` at version 0, in Go PicoClaw's order of conversion. */
const PROVIDERS: ReadonlyMap<string, ProviderFacts> = new Map([
  ["openai", meaning("openai", "gpt-5.4", "gpt")],
  ["anthropic", meaning("anthropic", "claude-sonnet-4.6", "claude")],
  ["litellm", meaning("litellm", "auto")],
  ["openrouter", meaning("openrouter", "auto")],
  ["groq", meaning("groq", "llama-3.1-70b-versatile")],
  ["zhipu", meaning("zhipu", "glm-4", "glm")],
  ["vllm", meaning("vllm", "auto")],
  ["gemini", meaning("gemini", "gemini-pro", "google")],
  ["nvidia", meaning("nvidia", "meta/llama-3.1-8b-instruct")],
  ["ollama", meaning("ollama", "llama3")],
  ["moonshot", meaning("moonshot", "kimi", "kimi")],
  ["shengsuanyun", meaning("shengsuanyun", "auto")],
  ["deepseek", meaning("deepseek", "deepseek-chat")],
  ["cerebras", meaning("cerebras", "llama-3.3-70b")],
  ["vivgrid", meaning("vivgrid", "auto")],
  ["volcengine", meaning("volcengine", "doubao-pro", "doubao")],
  ["github_copilot", meaning("github-copilot", "gpt-5.4", "copilot")],
  ["antigravity", meaning("antigravity", "gemini-2.0-flash")],
  ["qwen", meaning("qwen", "qwen-max", "tongyi")],
  ["mistral", meaning("mistral", "mistral-small-latest")],
  ["avian", meaning("avian", "deepseek/deepseek-v3.2")],
  ["longcat", meaning("longcat", "LongCat-Flash-Thinking")],
  ["modelscope", meaning("modelscope", "Qwen/Qwen3-235B-A22B-Instruct-2507")],
]);

/** Fields of a provider that go to its model. */
const TAKEN_OVER = ["api_base", "proxy", "request_timeout", "auth_method", "connect_mode"];

/**
 * Converts `providers` (version 0) to `model_list` if there is none. The model of `agents.defaults` goes
 * to the provider that is named there, else to the one of its prefix, else to the first.
 */
export function withProvidersAsModels(tree: Branch): Branch {
  const providers = branchAt(tree, "providers");
  const used = [...PROVIDERS].flatMap(([name, known]) => {
    const provider = branchAt(providers, name);
    return provider !== undefined && isUsed(provider) ? [{ name, known, provider }] : [];
  });
  if (used.length === 0 || hasModels(tree)) return withoutChild(tree, "providers");
  const defaults = branchAt(tree, "agents", "defaults");
  const model = childOf(defaults, "model_name");
  const wanted = model?.kind === "leaf" && model.text.trim() !== "" ? model : undefined;
  const word = textAt(defaults, "provider").toLowerCase();
  const prefix = textAt(defaults, "model_name").split("/")[0]?.toLowerCase() ?? "";
  const named = (by: string) => used.find(({ name, known }) => goesBy(by, name, known));
  const meant = word === "" ? (named(prefix) ?? used[0]) : named(word);
  const entries = used.map((one) =>
    modelOf(one.provider, one.known, one === meant ? wanted : undefined),
  );
  const models = list(entries, providers?.origin ?? tree.origin);
  return withChild(withoutChild(tree, "providers"), "model_list", models);
}

function goesBy(word: string, name: string, { protocol, aliases }: ProviderFacts): boolean {
  return [name, protocol, ...aliases].includes(word);
}

function hasModels(tree: Branch): boolean {
  const models = tree.entries.get("model_list");
  return models !== undefined && !(models.kind === "list" && models.items.length === 0);
}

/** Go PicoClaw writes all providers; those without a key and an address are not used. */
function isUsed(provider: Branch): boolean {
  const keys = ["api_key", "api_keys", "api_base", "connect_mode", "auth_method"];
  return keys.some(
    (key) => childOf(provider, key)?.kind === "list" || textAt(provider, key) !== "",
  );
}

/**
 * A model keeps its own prefix: `anthropic/claude` at openrouter needs a `provider`. Go PicoClaw forgets
 * it, and calls Anthropic with openrouter's key.
 */
function modelOf(provider: Branch, facts: ProviderFacts, wanted: Leaf | undefined): Branch {
  const { origin } = provider;
  const keys = provider.entries.get("api_keys") ?? provider.entries.get("api_key");
  const taken = TAKEN_OVER.map((key) => [key, provider.entries.get(key)] as const);
  const entries = [...namesOf(facts, wanted, origin), ...taken, ["api_keys", keys] as const];
  return branch(
    entries.flatMap(([key, value]) => (value === undefined ? [] : [[key, value] as const])),
    origin,
  );
}

function namesOf(
  { protocol, model }: ProviderFacts,
  wanted: Leaf | undefined,
  origin: Origin,
): (readonly [string, Tree])[] {
  if (wanted === undefined) {
    return [
      ["model_name", leaf(protocol, origin)],
      ["model", leaf(`${protocol}/${model}`, origin)],
    ];
  }
  if (wanted.text.includes("/")) {
    return [
      ["model_name", wanted],
      ["model", wanted],
      ["provider", leaf(protocol, origin)],
    ];
  }
  return [
    ["model_name", wanted],
    ["model", leaf(`${protocol}/${wanted.text}`, wanted.origin)],
  ];
}
