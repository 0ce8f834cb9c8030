import assert from "node:assert/strict";
import { inspect } from "node:util";
import type { Question } from "../../src/agent/model/contract.ts";
import { Failure } from "../../src/base/failure.ts";
import type { LogFields, Log } from "../../src/base/log.ts";
import { Secret } from "../../src/base/secret.ts";
import type { AgentDefaults, Config, ModelEntry } from "../../src/config/contract.ts";

/** An entry of `model_list` with its defaults filled in. */
export function modelEntry(
  entry: Partial<Omit<ModelEntry, "api_keys">> & { readonly api_keys?: readonly string[] } = {},
): ModelEntry {
  const { api_keys = ["sk-test-key-0123456789"], ...rest } = entry;
  return {
    model_name: "test",
    provider: "",
    model: "openai/gpt-test",
    api_base: "",
    enabled: true,
    request_timeout: 5,
    max_tokens_field: "",
    custom_headers: {},
    extra_body: {},
    user_agent: "",
    ...rest,
    api_keys: api_keys.map((key) => new Secret(key)),
  };
}

/** `agents.defaults` as a test needs them: waits between tries are short. */
export function agentDefaults(defaults: Partial<AgentDefaults> = {}): AgentDefaults {
  return {
    workspace: "/tmp/picoclaw-test-workspace",
    provider: "",
    model_name: "",
    max_tokens: 1000,
    max_tool_iterations: 10,
    max_parallel_turns: 0,
    turn_timeout_secs: 60,
    max_llm_retries: 2,
    llm_retry_backoff_secs: 0.01,
    ...defaults,
  };
}

/** What the agent needs of a configuration. */
export function agentConfig(
  entries: readonly ModelEntry[],
  defaults: Partial<AgentDefaults> = {},
): Pick<Config, "agents" | "model_list"> {
  return { agents: { defaults: agentDefaults(defaults) }, model_list: entries };
}

/** All that a generator yields, and what it returns. */
export async function collect<T>(
  source: AsyncGenerator<string, T>,
): Promise<{ pieces: string[]; text: string; result: T }> {
  const pieces: string[] = [];
  for (;;) {
    const step = await source.next();
    if (step.done === true) return { pieces, text: pieces.join(""), result: step.value };
    pieces.push(step.value);
  }
}

/** A question to a model, without tools and history. */
export function questionOf(signal = new AbortController().signal): Question {
  return { system: "be short", messages: [{ role: "user", text: "hello" }], tools: [], signal };
}

/** The failure of code `model` that an answer must end with; its message must not give anything away. */
export async function modelFailureOf(answer: Promise<unknown>): Promise<Failure> {
  const thrown: unknown = await answer.then(
    () => assert.fail("it answered"),
    (error: unknown) => error,
  );
  assert.ok(thrown instanceof Failure, inspect(thrown));
  assert.equal(thrown.code, "model");
  assert.doesNotMatch(thrown.message, /127\.0\.0\.1|http|sk-/);
  return thrown;
}

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly fields: LogFields;
}

/** A log that remembers. */
export function createMemoryLog(): Log & { readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const at =
    (level: string) =>
    (message: string, fields: LogFields = {}) =>
      void lines.push({ level, message, fields });
  return { lines, debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}
