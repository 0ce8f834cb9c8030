import assert from "node:assert/strict";
import { inspect } from "node:util";
import { FULL_ACCESS } from "../../src/agent/access/permissions.ts";
import type { ModelCall } from "../../src/agent/model/contract.ts";
import type { CallContext } from "../../src/agent/tools/contract.ts";
import { Failure } from "../../src/base/failure.ts";
import { Secret } from "../../src/base/secret.ts";
import type {
  AgentDefaults,
  Config,
  ModelEntry,
  ToolProfile,
  ToolSettings,
} from "../../src/config/contract.ts";

/** An entry of `model_list` with its defaults filled in. */
export function modelEntry(
  entry: Partial<Omit<ModelEntry, "api_keys" | "custom_headers">> & {
    readonly api_keys?: readonly string[];
    readonly custom_headers?: Readonly<Record<string, string>>;
  } = {},
): ModelEntry {
  const { api_keys = ["sk-test-key-0123456789"], custom_headers = {}, ...rest } = entry;
  const headers = Object.entries(custom_headers);
  return {
    model_name: "test",
    provider: "",
    protocol: "",
    model: "openai/gpt-test",
    api_base: "",
    enabled: true,
    request_timeout: 5,
    max_tokens_field: "",
    custom_headers: Object.fromEntries(headers.map(([name, text]) => [name, new Secret(text)])),
    extra_body: {},
    user_agent: "",
    proxy: "",
    fallbacks: [],
    rpm: 0,
    thinking_level: "",
    tool_schema_transform: "",
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
    context_window: 0,
    summarize_message_threshold: 20,
    summarize_token_percent: 75,
    model_fallbacks: [],
    routing: { enabled: false, light_model: "", threshold: 0.35 },
    restrict_to_workspace: true,
    allow_read_outside_workspace: false,
    ...defaults,
  };
}

/** `tools` as it is where the file says nothing. */
export function toolSettings(settings: Partial<ToolSettings> = {}): ToolSettings {
  const search = { enabled: false, max_results: 5 };
  return {
    off: new Set(),
    allow_read_paths: [],
    allow_write_paths: [],
    filter_sensitive_data: true,
    filter_min_length: 8,
    profiles: [],
    cron: { allow_command: true, exec_timeout_minutes: 5 },
    watch: [],
    exec: {
      enable_deny_patterns: true,
      custom_deny_patterns: [],
      custom_allow_patterns: [],
      timeout_seconds: 60,
      sandbox: "auto",
      allow_network: false,
    },
    read_file: { mode: "bytes", max_read_file_size: 65_536 },
    web: {
      provider: "auto",
      searxng: { ...search, base_url: "" },
      brave: { ...search, api_keys: [] },
      tavily: { ...search, api_keys: [], base_url: "" },
      duckduckgo: search,
      proxy: "",
      fetch_limit_bytes: 10_485_760,
      format: "plaintext",
      private_host_whitelist: [],
    },
    ...settings,
  };
}

/** A profile of everyone, who may do nothing but what is said here. */
export function toolProfile(profile: Partial<ToolProfile>): ToolProfile {
  const topics = { read: [], publish: [] };
  const confirm = { by: [], tools: [], minutes: 10 };
  const rest = { topics, agents: [], message_to: [], confirm };
  return { pattern: "*", tools: [], read: [], write: [], ...rest, ...profile };
}

/** What the agent needs of a configuration. */
export function agentConfig(
  entries: readonly ModelEntry[],
  defaults: Partial<AgentDefaults> = {},
): Pick<Config, "agents" | "model_list" | "tools" | "channels"> {
  return {
    agents: { defaults: agentDefaults(defaults) },
    model_list: entries,
    tools: toolSettings(),
    channels: [],
  };
}

/** What a tool is told of a call, from a client named `tester` on this machine. */
export function callContext(signal = new AbortController().signal): CallContext {
  return { signal, client: "tester", isRemote: false, owner: "tester", permissions: FULL_ACCESS };
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
export function questionOf(signal = new AbortController().signal): ModelCall {
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
