import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { PromptMessage } from "../../../src/agent/model/contract.ts";
import type { ModelEntry } from "../../../src/config/contract.ts";
import { sentBy } from "../../support/model.ts";

type Level = ModelEntry["thinking_level"];

interface Asked {
  readonly level: Level;
  readonly max_tokens?: number;
  readonly messages?: readonly PromptMessage[];
}

async function askedOf(model: string, { level, max_tokens = 20_000, messages }: Asked) {
  const entry = { model, thinking_level: level, api_base: "http://model.test/v1" } as const;
  const defaults = { max_tokens, temperature: 0.5 };
  const { body: text, log } = await sentBy({ entry, defaults }, messages && { messages });
  const { generationConfig, temperature, ...body } = JSON.parse(text);
  const fields = [
    "reasoning_effort",
    "reasoning",
    "thinking",
    "enable_thinking",
    "thinking_budget",
    "output_config",
  ];
  const shown = Object.fromEntries(
    fields.filter((name) => name in body).map((name) => [name, body[name]]),
  );
  const config = Object(generationConfig).thinkingConfig;
  return {
    shown: config === undefined ? shown : { ...shown, ...config },
    temperature: temperature ?? Object(generationConfig).temperature,
    warnings: log.lines.filter(({ level: grade }) => grade === "warn"),
  };
}

async function temperatureOf(model: string, level: Level): Promise<unknown> {
  return (await askedOf(model, { level })).temperature;
}

const LEVELS = ["off", "low", "medium", "high", "xhigh", "adaptive"] as const;

const effort = (name: string) => ({ reasoning_effort: name });
const thinking = (type: string) => ({ thinking: { type } });
const budget = (budget_tokens: number) => ({ thinking: { type: "enabled", budget_tokens } });
const shown = (name: string) => ({
  thinking: { type: "adaptive" },
  output_config: { effort: name },
});
const qwen = (thinking_budget: number) => ({ enable_thinking: true, thinking_budget });
const graded = (thinkingLevel: string, includeThoughts = true) => ({
  thinkingLevel,
  includeThoughts,
});
const tokens = (thinkingBudget: number, includeThoughts = true) => ({
  thinkingBudget,
  includeThoughts,
});

/** In the order of LEVELS. */
const TABLE: Record<string, readonly unknown[]> = {
  "openai/gpt-5.4": [
    effort("none"),
    effort("low"),
    effort("medium"),
    effort("high"),
    effort("xhigh"),
    {},
  ],
  "azure/mine": [
    effort("none"),
    effort("low"),
    effort("medium"),
    effort("high"),
    effort("xhigh"),
    {},
  ],
  "groq/gpt-oss": [
    effort("none"),
    effort("low"),
    effort("medium"),
    effort("high"),
    effort("high"),
    {},
  ],
  "openrouter/a/b": [
    ...["none", "low", "medium", "high", "xhigh"].map((name) => ({ reasoning: { effort: name } })),
    { reasoning: { enabled: true } },
  ],
  "deepseek/v4": [
    thinking("disabled"),
    ...["low", "medium", "high", "max"].map((name) =>
      Object.assign(thinking("enabled"), effort(name)),
    ),
    thinking("enabled"),
  ],
  "volcengine/doubao": ["disabled", "enabled", "enabled", "enabled", "enabled", "enabled"].map(
    thinking,
  ),
  "zhipu/glm-5": ["disabled", "enabled", "enabled", "enabled", "enabled", "enabled"].map(thinking),
  "zai/glm-5": ["disabled", "enabled", "enabled", "enabled", "enabled", "enabled"].map(thinking),
  "qwen/qwen3": [
    { enable_thinking: false },
    qwen(2048),
    qwen(8192),
    qwen(16_384),
    qwen(32_768),
    { enable_thinking: true },
  ],
  "anthropic-messages/claude-opus-4-5-20251101": [
    thinking("disabled"),
    budget(2048),
    budget(8192),
    budget(15_000),
    budget(15_000),
    thinking("adaptive"),
  ],
  "anthropic-messages/claude-3-7-sonnet-20250219": [
    thinking("disabled"),
    budget(2048),
    budget(8192),
    budget(15_000),
    budget(15_000),
    thinking("adaptive"),
  ],
  "anthropic/claude-opus-4-7": [
    thinking("disabled"),
    shown("low"),
    shown("medium"),
    shown("high"),
    shown("xhigh"),
    thinking("adaptive"),
  ],
  "gemini/gemini-2.5-flash": [
    tokens(0, false),
    tokens(2048),
    tokens(8192),
    tokens(16_384),
    tokens(24_576),
    tokens(-1),
  ],
  "gemini/gemini-2.5-pro": [
    tokens(128, false),
    tokens(2048),
    tokens(8192),
    tokens(16_384),
    tokens(24_576),
    tokens(-1),
  ],
  "gemini/gemini-3-flash-preview": [
    graded("minimal", false),
    graded("low"),
    graded("medium"),
    graded("high"),
    graded("high"),
    { includeThoughts: true },
  ],
  "gemini/gemini-3.1-pro": [
    graded("low", false),
    graded("low"),
    graded("medium"),
    graded("high"),
    graded("high"),
    { includeThoughts: true },
  ],
};

describe("thinking_level", () => {
  for (const [model, expected] of Object.entries(TABLE)) {
    it(`tells ${model} how much to think`, async () => {
      const found = await Promise.all(
        LEVELS.map(async (name) => (await askedOf(model, { level: name })).shown),
      );
      assert.deepEqual(found, expected);
      assert.deepEqual((await askedOf(model, { level: "" })).shown, {});
    });
  }

  it("leaves the temperature out where Claude thinks, or takes none", async () => {
    assert.equal(await temperatureOf("anthropic-messages/claude-sonnet-4-5", "low"), undefined);
    assert.equal(
      await temperatureOf("anthropic-messages/claude-sonnet-4-5", "adaptive"),
      undefined,
    );
    assert.equal(await temperatureOf("anthropic-messages/claude-sonnet-4-5", "off"), 0.5);
    assert.equal(await temperatureOf("anthropic-messages/claude-sonnet-4-20250514", ""), 0.5);
    assert.equal(await temperatureOf("anthropic/claude-opus-4-7", ""), undefined);
    assert.equal(await temperatureOf("gemini/gemini-3-flash", "high"), 0.5);
  });

  it("is said to be lost where max_tokens leaves no room for it", async () => {
    const model = "anthropic-messages/claude-sonnet-4-5";
    const lost = await askedOf(model, { level: "low", max_tokens: 1000 });
    assert.deepEqual([lost.shown, lost.temperature, lost.warnings.length], [{}, 0.5, 1]);
    assert.equal((await askedOf(model, { level: "low" })).warnings.length, 0);
  });

  it("rests for a turn whose calls have no signed thinking, and only for that one", async () => {
    const round: PromptMessage[] = [
      { role: "user", text: "?" },
      { role: "assistant", text: "", toolCalls: [{ id: "a", name: "device", arguments: "{}" }] },
      { role: "tool", callId: "a", name: "device", text: "1" },
    ];
    const model = "anthropic-messages/claude-sonnet-4-5";
    const during = await askedOf(model, { level: "low", messages: round });
    assert.deepEqual([during.shown, during.temperature], [{}, 0.5]);
    const later = [
      ...round,
      { role: "assistant", text: "1" },
      { role: "user", text: "?" },
    ] as const;
    assert.deepEqual((await askedOf(model, { level: "low", messages: later })).shown, budget(2048));
  });
});
