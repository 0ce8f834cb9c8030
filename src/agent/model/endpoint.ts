import { Failure } from "../../base/failure.ts";
import { nearestWord } from "../../base/spelling.ts";
import type { ModelEntry } from "../../config/contract.ts";
import { AWS, GOOGLE_CLOUD } from "./cloud-endpoint.ts";
import type { Cloud } from "./cloud-endpoint.ts";
import type { ThinkingStyle } from "./thinking.ts";

/** A resolved entry of `model_list`: how to reach its model. */
export interface Endpoint {
  /** For the log and for failures: `model_list "gpt"`. */
  readonly label: string;
  readonly protocol: string;
  readonly facts: ProtocolFacts;
  /** Without slashes at its end. */
  readonly base: string;
  /** The name that the server expects. */
  readonly model: string;
  /** Empty if the server needs none. */
  readonly keys: readonly string[];
}

/**
 * Resolves an entry. An explicit `provider` wins and leaves the model's name unchanged; otherwise the part before
 * the first slash is the protocol if it is a known one; otherwise the protocol is openai. Throws a `Failure` of
 * code `config` for an entry that can never work.
 */
export function endpointOf(entry: ModelEntry): Endpoint {
  const label = `model_list "${entry.model_name}"`;
  const { protocol, model } = protocolOf(entry, label);
  const facts = factsOf(protocol, entry.api_base);
  if (facts.unsupported !== undefined) {
    throw new Failure("config", `${label} uses the protocol ${protocol}, which is not supported`, {
      why: "supported are OpenAI-compatible chat completions and the native protocols of Anthropic, Gemini, Azure, Bedrock and Vertex AI",
      remedy: facts.unsupported,
    });
  }
  const keys = keysIn(entry, facts);
  const written = facts.cloud?.base(entry.api_base, keys) ?? (entry.api_base || facts.base);
  const base = baseOf(written, label, facts.cloud?.baseRemedy);
  checkKeys(keys, { entry, facts, label });
  return { label, protocol, facts, base, model, keys };
}

/** The row of a protocol; for `anthropic` with a base elsewhere the chat completions that Go PicoClaw speaks there. */
function factsOf(protocol: string, base: string): ProtocolFacts {
  const facts = PROTOCOLS[protocol] ?? {};
  const host = URL.parse(base)?.hostname;
  if (protocol !== "anthropic" || host === undefined || /(?:^|\.)anthropic\.com$/.test(host)) {
    return facts;
  }
  return { ...facts, dialect: "chat-completions" };
}

function protocolOf(entry: ModelEntry, label: string): { protocol: string; model: string } {
  const model = entry.model.trim();
  if (model === "") {
    throw new Failure("config", `${label} names no model`, { remedy: "set its key model" });
  }
  const [prefix, rest] = splitOnce(model);
  const prefixed = prefix === undefined ? undefined : protocolNamed(prefix);
  if (entry.provider.trim() !== "") {
    const protocol = protocolNamed(entry.provider);
    if (protocol === undefined) throw unknownProtocol(entry.provider, label);
    const doubled = prefixed === protocol && PROTOCOLS[protocol]?.ownPrefix !== true;
    return { protocol, model: doubled ? rest : model };
  }
  if (prefixed === undefined || isVendor(prefixed, entry)) return { protocol: "openai", model };
  // Only OpenRouter's own models have no vendor: `openrouter/auto`.
  const own = prefixed === "openrouter" && !rest.includes("/");
  return { protocol: prefixed, model: own ? model : rest };
}

/** Whether the prefix is a part of the model's id: `cohere/command-a` behind a gateway at `api_base`. */
function isVendor(prefix: string, entry: ModelEntry): boolean {
  return PROTOCOLS[prefix]?.isAdded === true && entry.api_base.includes("://");
}

function splitOnce(model: string): [string | undefined, string] {
  const slash = model.indexOf("/");
  return slash < 1 ? [undefined, model] : [model.slice(0, slash), model.slice(slash + 1)];
}

function baseOf(
  written: string | undefined,
  label: string,
  remedy = "set its key api_base, as in https://host/v1",
): string {
  const base = (written ?? "").trim().replace(/\/+$/, "");
  const url = URL.parse(base);
  if (url === null || !["http:", "https:"].includes(url.protocol)) {
    throw new Failure("config", `${label} has no usable api_base`, {
      why: base === "" ? "it is empty" : "it is not an http or https URL",
      remedy,
    });
  }
  if (url.username !== "" || url.password !== "") {
    throw new Failure("config", `${label} has a user name or a password in its api_base`, {
      remedy: "give credentials with api_keys or custom_headers",
    });
  }
  return base;
}

function keysIn(entry: ModelEntry, facts: ProtocolFacts): readonly string[] {
  const own = entry.api_keys.map((key) => key.reveal().trim()).filter((key) => key !== "");
  return own.length > 0 ? own : (facts.cloud?.keys() ?? []);
}

interface KeyCheck {
  readonly entry: ModelEntry;
  readonly facts: ProtocolFacts;
  readonly label: string;
}

function checkKeys(keys: readonly string[], { entry, facts, label }: KeyCheck): void {
  if (keys.some((key) => !/^[\u0021-\u007e]+$/.test(key))) {
    throw new Failure("config", `${label} has an invalid key`, {
      why: "it has a blank, a line break or a non-ASCII character",
      remedy: "copy the key again, in one piece",
    });
  }
  const { cloud, keyless = false } = facts;
  const hasServer = cloud === undefined ? entry.api_base !== "" : entry.api_base.includes("://");
  if (keys.length > 0 || hasServer || keyless) return;
  throw new Failure("config", `${label} has no key`, {
    why: "its provider requires one",
    remedy:
      cloud?.keyRemedy ??
      "set its api_keys in .security.yml, or its api_base if your own server needs none",
  });
}

function unknownProtocol(word: string, label: string): Failure {
  const nearest = nearestWord(word, NAMES.keys());
  const guess = nearest === undefined ? "" : `did you mean ${nearest}? Otherwise `;
  return new Failure("config", `${label} has the unknown protocol ${JSON.stringify(word)}`, {
    remedy: `${guess}set provider to openai and api_base to the base of its OpenAI-compatible API`,
  });
}

/** The API of a protocol's server. */
export type Dialect = "chat-completions" | "anthropic" | "gemini" | "azure" | "bedrock" | "vertex";

/** One row of the table of protocols, with the names of Go PicoClaw. */
interface ProtocolFacts {
  readonly aliases?: readonly string[];
  /** Without a slash at its end; absent if `api_base` is required. */
  readonly base?: string;
  /** Chat completions if left out. */
  readonly dialect?: Dialect;
  /** This program does not support the protocol; the text says how to reach its models all the same. */
  readonly unsupported?: string;
  /** How base and keys are found, if not only in the entry. */
  readonly cloud?: Cloud;
  /** A local server, which needs no key. */
  readonly keyless?: true;
  /** Its model ids may begin with its own name (`groq/compound`), which must stay. */
  readonly ownPrefix?: true;
  /** Unknown to Go PicoClaw, where the same word before a slash is a part of the model's id. */
  readonly isAdded?: true;
  /** Refuses `stream_options` with a 422, and always sends the usage. */
  readonly noStreamOptions?: true;
  /** The pattern of a call's id. */
  readonly callIds?: RegExp;
  /** Requires the reasoning before tool calls back, and refuses calls without it. */
  readonly replaysReasoning?: true;
  /** How `thinking_level` is sent; `effort-to-high` if left out. */
  readonly thinking?: ThinkingStyle;
  /** The field of the limit of output tokens, if neither the entry nor the model determines it. */
  readonly maxTokensField?: string;
  /** Additional fields of the request for this server. */
  readonly body?: Readonly<Record<string, unknown>>;
}

/** Every protocol, by name. */
export const PROTOCOLS: Readonly<Record<string, ProtocolFacts>> = {
  openai: { aliases: ["gpt"], base: "https://api.openai.com/v1", thinking: "effort" },
  anthropic: {
    aliases: ["claude"],
    base: "https://api.anthropic.com/v1",
    dialect: "anthropic",
    thinking: "anthropic",
  },
  deepseek: {
    base: "https://api.deepseek.com/v1",
    replaysReasoning: true,
    thinking: "switch-with-effort",
  },
  openrouter: { base: "https://openrouter.ai/api/v1", ownPrefix: true, thinking: "reasoning" },
  "qwen-portal": {
    aliases: ["qwen"],
    base: "https://dashscope.aliyuncs.com/compatible-mode/v1",
    thinking: "enable",
  },
  "qwen-intl": {
    aliases: ["qwen-international", "dashscope-intl"],
    base: "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    thinking: "enable",
  },
  "qwen-us": {
    aliases: ["dashscope-us"],
    base: "https://dashscope-us.aliyuncs.com/compatible-mode/v1",
    thinking: "enable",
  },
  moonshot: {
    base: "https://api.moonshot.cn/v1",
    replaysReasoning: true,
    thinking: "switch",
  },
  "moonshot-intl": {
    base: "https://api.moonshot.ai/v1",
    replaysReasoning: true,
    thinking: "switch",
    isAdded: true,
  },
  kimi: {
    aliases: ["kimi-coding", "kimi-code"],
    base: "https://api.kimi.com/coding/v1",
    replaysReasoning: true,
    thinking: "switch",
    isAdded: true,
  },
  volcengine: { base: "https://ark.cn-beijing.volces.com/api/v3", thinking: "switch" },
  zhipu: { aliases: ["glm"], base: "https://open.bigmodel.cn/api/paas/v4", thinking: "switch" },
  zai: {
    aliases: ["z.ai", "z-ai"],
    base: "https://api.z.ai/api/paas/v4",
    thinking: "switch",
  },
  "zai-coding": {
    base: "https://api.z.ai/api/coding/paas/v4",
    thinking: "switch",
    isAdded: true,
  },
  groq: { base: "https://api.groq.com/openai/v1", ownPrefix: true },
  mistral: { base: "https://api.mistral.ai/v1", noStreamOptions: true, callIds: /^[a-z\d]{9}$/i },
  nvidia: { base: "https://integrate.api.nvidia.com/v1", ownPrefix: true },
  cerebras: { base: "https://api.cerebras.ai/v1" },
  venice: { base: "https://api.venice.ai/api/v1" },
  shengsuanyun: { base: "https://router.shengsuanyun.com/api/v1" },
  siliconflow: { base: "https://api.siliconflow.cn/v1", thinking: "enable" },
  "siliconflow-intl": {
    base: "https://api.siliconflow.com/v1",
    thinking: "enable",
    isAdded: true,
  },
  vivgrid: { base: "https://api.vivgrid.com/v1" },
  minimax: { base: "https://api.minimaxi.com/v1", body: { reasoning_split: true } },
  "minimax-intl": {
    base: "https://api.minimax.io/v1",
    body: { reasoning_split: true },
    isAdded: true,
  },
  longcat: { base: "https://api.longcat.chat/openai/v1" },
  modelscope: { base: "https://api-inference.modelscope.cn/v1", thinking: "enable" },
  mimo: { base: "https://api.xiaomimimo.com/v1", replaysReasoning: true, thinking: "switch" },
  avian: { base: "https://api.avian.io/v1" },
  novita: { base: "https://api.novita.ai/openai/v1" },
  xai: { aliases: ["grok", "x.ai", "x-ai"], base: "https://api.x.ai/v1", isAdded: true },
  together: { aliases: ["togetherai"], base: "https://api.together.ai/v1", isAdded: true },
  fireworks: { base: "https://api.fireworks.ai/inference/v1", isAdded: true },
  huggingface: { aliases: ["hf"], base: "https://router.huggingface.co/v1", isAdded: true },
  cohere: { base: "https://api.cohere.ai/compatibility/v1", isAdded: true },
  sambanova: { base: "https://api.sambanova.ai/v1", isAdded: true },
  nebius: { base: "https://api.tokenfactory.nebius.com/v1", isAdded: true },
  "alibaba-coding": {
    aliases: ["coding-plan", "qwen-coding"],
    base: "https://coding-intl.dashscope.aliyuncs.com/v1",
    thinking: "enable",
  },
  litellm: { base: "http://localhost:4000/v1", thinking: "effort" },
  ollama: { base: "http://localhost:11434/v1", keyless: true },
  vllm: { base: "http://localhost:8000/v1", keyless: true },
  llamacpp: {
    aliases: ["llama.cpp", "llama-cpp"],
    base: "http://localhost:8080/v1",
    keyless: true,
  },
  lmstudio: { base: "http://localhost:1234/v1", keyless: true },
  gpt4free: { aliases: ["g4f"], base: "http://localhost:1337/v1", keyless: true },
  "anthropic-messages": { base: "https://api.anthropic.com/v1", dialect: "anthropic" },
  gemini: {
    aliases: ["google"],
    base: "https://generativelanguage.googleapis.com/v1beta",
    dialect: "gemini",
  },
  "alibaba-coding-anthropic": {
    aliases: ["coding-plan-anthropic"],
    base: "https://coding-intl.dashscope.aliyuncs.com/apps/anthropic",
    dialect: "anthropic",
  },
  azure: {
    aliases: ["azure-openai"],
    dialect: "azure",
    thinking: "effort",
    maxTokensField: "max_completion_tokens",
  },
  vertex: {
    aliases: ["vertexai", "vertex-ai", "vertex_ai", "google-vertex"],
    dialect: "vertex",
    cloud: GOOGLE_CLOUD,
    isAdded: true,
  },
  bedrock: { aliases: ["aws-bedrock"], dialect: "bedrock", cloud: AWS },
  "github-copilot": {
    aliases: ["copilot"],
    unsupported: "use openai, anthropic or gemini with a key of your own",
  },
  antigravity: {
    aliases: ["google-antigravity"],
    unsupported: "use the protocol gemini with an API key",
  },
  "claude-cli": {
    aliases: ["claudecli"],
    unsupported: "use the protocol anthropic with an API key",
  },
  "codex-cli": { aliases: ["codexcli"], unsupported: "use the protocol openai with an API key" },
  perplexity: {
    unsupported: "its chat completions have ended; use its models over openrouter",
    isAdded: true,
  },
  elevenlabs: { unsupported: "it is for speech; an agent needs a model that writes text" },
};

/** From every name and alias to the protocol's own name. */
const NAMES: ReadonlyMap<string, string> = new Map(
  Object.entries(PROTOCOLS).flatMap(([name, { aliases = [] }]) =>
    [name, ...aliases].map((word): [string, string] => [word, name]),
  ),
);

/** The protocol for a name or alias, in any case; undefined if there is none. */
function protocolNamed(word: string): string | undefined {
  return NAMES.get(word.trim().toLowerCase());
}
