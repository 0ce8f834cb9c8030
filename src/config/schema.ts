import * as v from "valibot";
import type { LogLevel } from "../base/log.ts";
import type { ModelEntry } from "./contract.ts";
import { TOTAL_LIMITS } from "./mqtt-schema.ts";
import { TOOLS } from "./tools-schema.ts";
import {
  address,
  anyObject,
  choice,
  decimal,
  flag,
  integer,
  listOf,
  oneOrMore,
  or,
  orEmpty,
  secret,
  secretTable,
  section,
  text,
  texts,
  whole,
} from "./values.ts";

const MANY = 1_000_000_000;

const LOG_LEVELS: ReadonlyMap<string, LogLevel> = new Map([
  ["trace", "debug"],
  ["debug", "debug"],
  ["", "info"],
  ["info", "info"],
  ["warn", "warn"],
  ["warning", "warn"],
  ["error", "error"],
  ["fatal", "error"],
  ["panic", "error"],
]);

type Dimension = "space" | "chat" | "topic" | "sender";

const DIMENSIONS: ReadonlyMap<string, Dimension> = new Map([
  ["space", "space"],
  ["chat", "chat"],
  ["topic", "topic"],
  ["sender", "sender"],
]);

/** What Go PicoClaw makes of the older setting. */
const DM_SCOPES: ReadonlyMap<string, readonly Dimension[]> = new Map([
  ["", ["chat"]],
  ["per-channel-peer", ["chat", "sender"]],
  ["per-channel", ["chat"]],
  ["per-peer", ["sender"]],
  ["global", []],
]);

const THINKING_LEVELS: ReadonlyMap<string, ModelEntry["thinking_level"]> = new Map([
  ["", ""],
  ["off", "off"],
  ["low", "low"],
  ["medium", "medium"],
  ["high", "high"],
  ["xhigh", "xhigh"],
  ["adaptive", "adaptive"],
]);

const TRANSFORMS: ReadonlyMap<string, ModelEntry["tool_schema_transform"]> = new Map([
  ["", ""],
  ["simple", "simple"],
]);

/** `agents.defaults`. An explicit 0 means what it means to Go PicoClaw. */
export const AGENT_DEFAULTS = {
  workspace: or(text(), ""),
  provider: or(text(), ""),
  model_name: or(text(), ""),
  max_tokens: or(countOr(8192), 32_768),
  temperature: v.exactOptional(decimal(0, 2)),
  max_tool_iterations: or(countOr(20), 50),
  max_parallel_turns: or(integer(0, 10_000), 0),
  turn_timeout_secs: or(integer(1, 86_400), 1800),
  max_llm_retries: or(integer(0, 100), 2),
  llm_retry_backoff_secs: or(decimal(0, 3600), 2),
  context_window: or(integer(0, MANY), 0),
  summarize_message_threshold: or(integer(0, MANY), 20),
  summarize_token_percent: or(integer(0, 100), 75),
  restrict_to_workspace: or(flag(), true),
  allow_read_outside_workspace: or(flag(), false),
};

/** Light questions to a smaller model. */
export const ROUTING = {
  enabled: or(flag(), false),
  light_model: or(text(), ""),
  threshold: or(decimal(0, 1), 0.35),
};

/** Parts of `agents.defaults` that no single variable can hold. */
export const AGENT_PARTS = {
  model_fallbacks: v.optional(texts(), () => []),
  routing: orEmpty(section(ROUTING)),
};

/** `session`. */
export const SESSION = {
  dimensions: v.exactOptional(listOf(choice("space, chat, topic or sender", DIMENSIONS))),
  dm_scope: or(choice("per-channel-peer, per-channel, per-peer or global", DM_SCOPES), ""),
};

/** `gateway`; a log level that only Go PicoClaw has is the nearest one here. */
export const GATEWAY = {
  host: or(text("a host without blanks", isHost), "localhost"),
  port: or(integer(0, 65_535), 18_790),
  log_level: or(choice("debug, info, warn or error", LOG_LEVELS), "info"),
  /** How long an answer is remembered for a request that comes again. */
  dedupe_window_secs: or(integer(1, 86_400), 600),
  limits: orEmpty(section(TOTAL_LIMITS)),
  /** Restrictions of the Go program that are not built here and are to be ignored, by their keys. */
  ignore_unsupported: v.optional(texts(), () => []),
};

/** What an entry of `model_list` costs, for a million tokens. */
export const PRICES = {
  input: or(decimal(0, MANY), 0),
  output: or(decimal(0, MANY), 0),
};

/** An entry of `model_list`. */
export const MODEL = {
  model_name: or(text(), ""),
  provider: or(text(), ""),
  model: or(text("a model without blanks, leading / or //", isModel), ""),
  api_base: or(text(), ""),
  api_keys: v.optional(oneOrMore(secret()), () => []),
  enabled: v.exactOptional(flag()),
  request_timeout: or(integer(0, 86_400), 0),
  max_tokens_field: or(text(), ""),
  custom_headers: v.optional(secretTable("an HTTP header of one line", isHeader), () => ({})),
  extra_body: v.optional(anyObject(), () => ({})),
  user_agent: or(text("text of one line", isHeaderText), ""),
  proxy: or(address("an http, https or socks5 URL", isProxy), ""),
  fallbacks: v.optional(texts(), () => []),
  rpm: or(integer(0, MANY), 0),
  thinking_level: or(choice("off, low, medium, high, xhigh or adaptive", THINKING_LEVELS), ""),
  tool_schema_transform: or(choice('"simple" or nothing', TRANSFORMS), ""),
  prices: v.exactOptional(section(PRICES)),
};

/** The configuration at version 3 but for its channels, which are read one by one. */
export const ROOT = section({
  agents: orEmpty(section({ defaults: orEmpty(section({ ...AGENT_DEFAULTS, ...AGENT_PARTS })) })),
  gateway: orEmpty(section(GATEWAY)),
  model_list: v.optional(listOf(section(MODEL)), () => []),
  session: orEmpty(section(SESSION)),
  tools: orEmpty(section(TOOLS)),
});

function countOr(otherwise: number) {
  return whole(`a whole number from 0 to ${MANY}`, (count) => {
    if (count < 0 || count > MANY) return undefined;
    return count === 0 ? otherwise : count;
  });
}

function isProxy(written: string): boolean {
  return written === "" || /^(?:https?|socks5h?):$/.test(URL.parse(written)?.protocol ?? "");
}

function isHost(host: string): boolean {
  return !/[\s\p{Cc}]/u.test(host);
}

/** As Go PicoClaw's ValidateModelList has it. */
function isModel(model: string): boolean {
  return !/\s|^\/|\/\//.test(model);
}

/** RFC 9110, section 5. */
function isHeader(name: string, value: string): boolean {
  return /^[!#$%&'*+.^_`|~\w-]+$/.test(name) && isHeaderText(value);
}

function isHeaderText(value: string): boolean {
  return /^[\t\u0020-\u007e\u0080-\u00ff]*$/.test(value);
}
