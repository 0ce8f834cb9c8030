import {
  branch,
  branchAt,
  childOf,
  leaf,
  list,
  textAt,
  withChild,
  withoutChild,
} from "../../tree.ts";
import type { Branch, Leaf, Origin, Tree } from "../../tree.ts";

interface ProviderFacts {
  readonly protocol: string;
  /** What Go PicoClaw takes where no model is named. */
  readonly model: string;
  /** Further names by which `agents.defaults.provider` can mean it. */
  readonly aliases: readonly string[];
}

function meaning(protocol: string, model: string, ...aliases: string[]): ProviderFacts {
  return { protocol, model, aliases };
}

/** The keys of `providers` at version 0, in the order in which Go PicoClaw converts them. */
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

/** Fields of a provider that its model takes over. */
const TAKEN_OVER = ["api_base", "proxy", "request_timeout", "auth_method", "connect_mode"];

/**
 * `providers` (version 0) as `model_list`, where there is none. The model of `agents.defaults` goes
 * to the provider that is named there, else to the one its prefix names, else to the first.
 */
export function withProvidersAsModels(tree: Branch): Branch {
  const providers = branchAt(tree, "providers");
  const used = [...PROVIDERS].flatMap(([name, known]) => {
    const provider = branchAt(providers, name);
    return provider !== undefined && isUsed(provider) ? [{ name, known, provider }] : [];
  });
  if (used.length === 0 || hasModels(tree)) return withoutChild(tree, "providers");
  const defaults = branchAt(branchAt(tree, "agents"), "defaults");
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

/** Go PicoClaw writes all providers out; those without a key and an address are nobody's choice. */
function isUsed(provider: Branch): boolean {
  const keys = ["api_key", "api_keys", "api_base", "connect_mode", "auth_method"];
  return keys.some(
    (key) => childOf(provider, key)?.kind === "list" || textAt(provider, key) !== "",
  );
}

/**
 * A model's own prefix stays: `anthropic/claude` at openrouter needs its `provider` named, which Go
 * PicoClaw forgets and so asks Anthropic with openrouter's key.
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
