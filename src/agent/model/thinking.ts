import type { ModelEntry } from "../../config/contract.ts";
import type { JsonSchema } from "./contract.ts";

export type ThinkingLevel = Exclude<ModelEntry["thinking_level"], "">;

/** The ways to ask a provider for a level of thinking. */
export type ThinkingStyle =
  /** `reasoning_effort`, up to `xhigh`. */
  | "effort"
  /** `reasoning_effort`, up to `high`. */
  | "effort-to-high"
  /** `reasoning: {effort}`, as OpenRouter has it. */
  | "reasoning"
  /** `reasoning: {effort}`, as OpenAI's Responses have it. */
  | "responses"
  /** `thinking: {type}`: on or off, as Volcengine and Zhipu have it. */
  | "switch"
  /** `thinking: {type}` with `reasoning_effort`, up to `max` (api-docs.deepseek.com, "Thinking Mode"). */
  | "switch-with-effort"
  /** `enable_thinking` and `thinking_budget`, as Qwen's servers have it. */
  | "enable"
  | "anthropic"
  | "gemini";

export interface ThinkingRequest {
  /** Empty sends nothing. */
  readonly level: ModelEntry["thinking_level"];
  readonly model: string;
  /** The limit of output tokens, thinking included; 0 is none. */
  readonly maxTokens: number;
}

export interface ThinkingFields {
  readonly fields: JsonSchema;
  /** The model refuses a temperature. */
  readonly withoutTemperature: boolean;
}

/**
 * What Anthropic's protocol is sent if no limit is configured: it requires one. A model with a lower maximum tells it.
 */
export const DEFAULT_MAX_TOKENS = 64_000;

interface LevelFacts {
  /** Absent if the model decides. */
  readonly effort?: string;
  /** Tokens; -1 if the model decides. */
  readonly budget: number;
}

/** Each level, as an effort and as a budget. */
const LEVELS: Readonly<Record<ThinkingLevel, LevelFacts>> = {
  off: { effort: "none", budget: 0 },
  low: { effort: "low", budget: 2048 },
  medium: { effort: "medium", budget: 8192 },
  high: { effort: "high", budget: 16_384 },
  xhigh: { effort: "xhigh", budget: 32_768 },
  adaptive: { budget: -1 },
};

/** The effort of a level; undefined if it has none, or if the level is empty. */
export function effortOf(level: ModelEntry["thinking_level"]): string | undefined {
  return level === "" ? undefined : LEVELS[level].effort;
}

type FieldsOf = (level: ThinkingLevel, facts: LevelFacts, request: ThinkingRequest) => JsonSchema;

const FIELDS_BY_STYLE: Readonly<Record<ThinkingStyle, FieldsOf>> = {
  effort: (_, { effort }) => (effort === undefined ? {} : { reasoning_effort: effort }),
  "effort-to-high": (_, { effort }) =>
    effort === undefined ? {} : { reasoning_effort: effort === "xhigh" ? "high" : effort },
  reasoning: (_, { effort }) => ({
    reasoning: effort === undefined ? { enabled: true } : { effort },
  }),
  responses: (_, { effort }) => (effort === undefined ? {} : { reasoning: { effort } }),
  switch: (level) => ({ thinking: { type: level === "off" ? "disabled" : "enabled" } }),
  "switch-with-effort": (level, { effort }) =>
    level === "off"
      ? { thinking: { type: "disabled" } }
      : {
          thinking: { type: "enabled" },
          ...(effort !== undefined && { reasoning_effort: effort === "xhigh" ? "max" : effort }),
        },
  enable: (level, { budget }) =>
    budget > 0
      ? { enable_thinking: true, thinking_budget: budget }
      : { enable_thinking: level !== "off" },
  anthropic: anthropicFields,
  gemini: (level, facts, request) => ({ thinkingConfig: geminiConfig(level, facts, request) }),
};

/** The fields of a request for a level of thinking; none if the level is empty. */
export function thinkingFields(style: ThinkingStyle, request: ThinkingRequest): ThinkingFields {
  const { level, model } = request;
  const fields = level === "" ? {} : FIELDS_BY_STYLE[style](level, LEVELS[level], request);
  const isClaude = style === "anthropic";
  const thinks = "thinking" in fields && level !== "off";
  return { fields, withoutTemperature: isClaude && (thinks || isSelfTempered(model)) };
}

/** Whether a level of Claude cannot be sent because its smallest budget leaves no tokens for an answer. */
export function isThinkingLost(request: ThinkingRequest): boolean {
  if (["", "adaptive", "off"].includes(request.level)) return false;
  return Object.keys(thinkingFields("anthropic", request).fields).length === 0;
}

/** The smallest budget of Claude, in tokens. */
const LEAST_BUDGET = 1024;

/** A budget below the limit of output tokens; a quarter of the limit stays for the text. */
function anthropicFields(
  level: ThinkingLevel,
  { effort, budget }: LevelFacts,
  { model, maxTokens }: ThinkingRequest,
): JsonSchema {
  if (level === "off") return { thinking: { type: "disabled" } };
  if (level === "adaptive") return { thinking: { type: "adaptive" } };
  if (isSelfTempered(model)) return { thinking: { type: "adaptive" }, output_config: { effort } };
  const most = maxTokens > 0 ? Math.floor((maxTokens * 3) / 4) : budget;
  if (most < LEAST_BUDGET) return {};
  return { thinking: { type: "enabled", budget_tokens: Math.min(budget, most) } };
}

/** Claude from 4.7 on accepts an effort, but no budget and no temperature. */
function isSelfTempered(model: string): boolean {
  const found = /claude-(?:[a-z]+-)(\d+)(?:[-.](\d{1,2}))?(?!\d)/i.exec(model);
  if (found === null) return false;
  const [major, minor] = [Number(found[1]), Number(found[2] ?? 0)];
  return major > 4 || (major === 4 && minor >= 7);
}

/** The largest budget that all thinking models before Gemini 3 accept, in tokens. */
const MOST_GEMINI_BUDGET = 24_576;
/** The smallest budget of Gemini 2.5 Pro, which cannot turn thinking off. */
const LEAST_GEMINI_PRO_BUDGET = 128;

/** A level for Gemini 3 and later, a budget for older models; both together are refused. */
function geminiConfig(
  level: ThinkingLevel,
  { effort, budget }: LevelFacts,
  { model }: ThinkingRequest,
): JsonSchema {
  // Summaries of thoughts are never shown; they keep a long silence from looking like a lost connection.
  const includeThoughts = level !== "off";
  const isPro = /pro/i.test(model);
  if (isGemini3(model)) {
    if (level === "adaptive") return { includeThoughts };
    const least = isPro ? "low" : "minimal";
    const value = level === "off" ? least : effort === "xhigh" ? "high" : effort;
    return { thinkingLevel: value, includeThoughts };
  }
  const least = isPro ? LEAST_GEMINI_PRO_BUDGET : 0;
  const thinkingBudget = level === "off" ? least : Math.min(budget, MOST_GEMINI_BUDGET);
  return { thinkingBudget, includeThoughts };
}

/** Gemini 3 and later, which also require the signatures of their calls back. */
export function isGemini3(model: string): boolean {
  return /gemini-(?:[3-9]|\d{2,})/i.test(model);
}
