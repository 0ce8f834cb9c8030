import type { ThinkingManner } from "./thinking.ts";

/** What a protocol's server is asked in; `later` are those this program does not speak. */
export type Dialect = "chat-completions" | "anthropic" | "gemini" | "azure" | "later";

/** One row of the table of protocols, as Go PicoClaw names them. */
export interface ProtocolFacts {
  readonly aliases?: readonly string[];
  /** Without a slash at its end; absent where `api_base` must be given. */
  readonly base?: string;
  /** Chat completions where it is left out. */
  readonly dialect?: Dialect;
  /** A local server, which wants no key. */
  readonly keyless?: true;
  /** Its model ids may begin with its own name (`groq/compound`), so that one must not be taken off. */
  readonly ownPrefix?: true;
  /** Refuses `stream_options` with a 422, and sends the usage unasked. */
  readonly noStreamOptions?: true;
  /** What the id of a call must look like, whoever gave it. */
  readonly callIds?: RegExp;
  /** Wants the reasoning before the calls of tools back, and refuses calls without one. */
  readonly replaysReasoning?: true;
  /** How `thinking_level` is told; `effort-to-high` where it is left out. */
  readonly thinking?: ThinkingManner;
  /** Of the limit on output tokens, where neither the entry nor the model says otherwise. */
  readonly maxTokensField?: string;
  /** Fields of the request that only this server knows. */
  readonly body?: Readonly<Record<string, unknown>>;
}

/** Every protocol, by name. */
export const PROTOCOLS: Readonly<Record<string, ProtocolFacts>> = {
  openai: { aliases: ["gpt"], base: "https://api.openai.com/v1", thinking: "effort" },
  anthropic: { aliases: ["claude"], base: "https://api.anthropic.com/v1", thinking: "anthropic" },
  deepseek: { base: "https://api.deepseek.com/v1", replaysReasoning: true, thinking: "switch" },
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
  volcengine: { base: "https://ark.cn-beijing.volces.com/api/v3", thinking: "switch" },
  zhipu: { aliases: ["glm"], base: "https://open.bigmodel.cn/api/paas/v4", thinking: "switch" },
  zai: {
    aliases: ["z.ai", "z-ai"],
    base: "https://api.z.ai/api/coding/paas/v4",
    thinking: "switch",
  },
  groq: { base: "https://api.groq.com/openai/v1", ownPrefix: true },
  mistral: { base: "https://api.mistral.ai/v1", noStreamOptions: true, callIds: /^[a-z\d]{9}$/i },
  nvidia: { base: "https://integrate.api.nvidia.com/v1", ownPrefix: true },
  cerebras: { base: "https://api.cerebras.ai/v1" },
  venice: { base: "https://api.venice.ai/api/v1" },
  shengsuanyun: { base: "https://router.shengsuanyun.com/api/v1" },
  siliconflow: { base: "https://api.siliconflow.cn/v1", thinking: "enable" },
  vivgrid: { base: "https://api.vivgrid.com/v1" },
  minimax: { base: "https://api.minimaxi.com/v1", body: { reasoning_split: true } },
  longcat: { base: "https://api.longcat.chat/openai" },
  modelscope: { base: "https://api-inference.modelscope.cn/v1", thinking: "enable" },
  mimo: { base: "https://api.xiaomimimo.com/v1", replaysReasoning: true, thinking: "switch" },
  avian: { base: "https://api.avian.io/v1" },
  novita: { base: "https://api.novita.ai/openai" },
  "alibaba-coding": {
    aliases: ["coding-plan", "qwen-coding"],
    base: "https://coding-intl.dashscope.aliyuncs.com/v1",
    thinking: "enable",
  },
  litellm: { base: "http://localhost:4000/v1", thinking: "effort" },
  ollama: { base: "http://localhost:11434/v1", keyless: true },
  vllm: { base: "http://localhost:8000/v1", keyless: true },
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
  bedrock: { dialect: "later" },
  "github-copilot": { aliases: ["copilot"], dialect: "later" },
  antigravity: { aliases: ["google-antigravity"], dialect: "later" },
  "claude-cli": { aliases: ["claudecli"], dialect: "later" },
  "codex-cli": { aliases: ["codexcli"], dialect: "later" },
  elevenlabs: { dialect: "later" },
};

/** From every name and alias to the protocol's own name. */
const NAMES: ReadonlyMap<string, string> = new Map(
  Object.entries(PROTOCOLS).flatMap(([name, { aliases = [] }]) =>
    [name, ...aliases].map((word): [string, string] => [word, name]),
  ),
);

/** The protocol that a word names, in any case; undefined where none is named so. */
export function protocolNamed(word: string): string | undefined {
  return NAMES.get(word.trim().toLowerCase());
}

/** All names and aliases. */
export function protocolWords(): Iterable<string> {
  return NAMES.keys();
}
