import { GO_KEYS } from "../compat/go/keys.ts";
import {
  address,
  anyObject,
  bool,
  choice,
  decimal,
  integer,
  isHeader,
  isHeaderText,
  oneOrMore,
  secret,
  secretTable,
  text,
  texts,
  wholeNumber,
} from "../values.ts";
import { apart, entries, group, items, key, listOf, optional, optionalGroup } from "./key.ts";

export const MANY = 1_000_000_000;

/** `PICOCLAW_` and the path. */
const VARIABLE = { variable: true } as const;

/** Light questions go to a smaller model. */
const ROUTING = group({
  enabled: key(bool(), false, "Whether light questions go to a smaller model."),
  light_model: key(text(), "", "The `model_name` that answers light questions."),
  threshold: key(decimal(0, 1), 0.35, "Questions with a score below it, from 0 to 1, are light."),
});

const MODE = { "": "default", default: "default", off: "off" } as const;
const LIST_MODE = { ...MODE, custom: "custom" } as const;

const list = (doc: string) =>
  group({
    mode: key(
      choice("default, off or custom", LIST_MODE),
      "default",
      `${doc}: all, none, or those in \`allow\`.`,
    ),
    allow: items(texts(), "Their names, with `custom`."),
  });

const block = (doc: string) =>
  group({ mode: key(choice("default or off", MODE), "default", doc) }, ["allow"]);

/** The restrictions of every turn. Go PicoClaw has `mode` and `allow` in each of its blocks. */
const TURN_PROFILE = apart({
  enabled: key(bool(), false, "Whether this profile restricts turns."),
  history: block("`off`: the model sees nothing of the conversation, and the turn is not stored."),
  system_prompt: block("`off`: the model sees neither the agent's description nor its memory."),
  skills: list("Which skills there are"),
  tools: list("Which tools there are"),
});

/** An explicit 0 means what it means to Go PicoClaw. */
export const AGENTS = group(
  {
    defaults: group(
      {
        workspace: key(text(), "", "The folder of the agent's files; relative to `config.json`.", {
          ...VARIABLE,
          shown: "`workspace` in the home",
        }),
        provider: key(text(), "", "The provider of `model_name`, in files of version 0.", VARIABLE),
        model_name: key(text(), "", "The entry of `model_list` that answers.", {
          ...VARIABLE,
          shown: "the first enabled entry",
        }),
        max_tokens: optional(countOr(8192), "Tokens of an answer; 0 is 8192.", {
          ...VARIABLE,
          shown: "the model's",
        }),
        temperature: optional(decimal(0, 2), "The model's temperature.", {
          ...VARIABLE,
          shown: "the provider's",
        }),
        max_tool_iterations: key(countOr(20), 50, "Model calls in one turn; 0 is 20.", VARIABLE),
        max_parallel_turns: key(
          integer(0, 10_000),
          0,
          "Turns that run at the same time; 0 is 16. Each client has one at a time.",
          VARIABLE,
        ),
        turn_timeout_secs: key(
          integer(1, 86_400),
          1800,
          "Seconds for a whole turn, which then ends in `timeout`; an earlier message expiry of the request wins.",
          VARIABLE,
        ),
        max_llm_retries: key(
          integer(0, 100),
          2,
          "Retries of a model call after 408, 429, 5xx and network errors.",
          VARIABLE,
        ),
        llm_retry_backoff_secs: key(
          decimal(0, 3600),
          2,
          "Seconds before the first retry; the n-th retry waits n times as long.",
          VARIABLE,
        ),
        context_window: key(
          integer(0, MANY),
          0,
          "Tokens of the model's context window; 0 is what is learned of it (docs/agent.md).",
          VARIABLE,
        ),
        summarize_message_threshold: key(
          integer(0, MANY),
          20,
          "Messages after which a conversation is summarized; 0 is never.",
          VARIABLE,
        ),
        summarize_token_percent: key(
          integer(0, 100),
          75,
          "Percent of `context_window` after which a conversation is summarized; 0 is never.",
          VARIABLE,
        ),
        restrict_to_workspace: key(
          bool(),
          true,
          "Whether file tools and commands stay in the workspace.",
          VARIABLE,
        ),
        allow_read_outside_workspace: key(
          bool(),
          false,
          "Whether file tools may nevertheless read outside of the workspace.",
          VARIABLE,
        ),
        model_fallbacks: items(
          texts(),
          "Names of `model_list` to ask, in order, when a model fails.",
        ),
        routing: ROUTING,
        turn_profile: TURN_PROFILE,
      },
      GO_KEYS.agentDefaults,
    ),
  },
  GO_KEYS.agents,
);

function countOr(otherwise: number) {
  return wholeNumber(`a whole number from 0 to ${MANY}`, (count) => {
    if (count < 0 || count > MANY) return undefined;
    return count === 0 ? otherwise : count;
  });
}

const THINKING_LEVELS = {
  "": "",
  off: "off",
  low: "low",
  medium: "medium",
  high: "high",
  xhigh: "xhigh",
  adaptive: "adaptive",
} as const;

export const MODEL_LIST = listOf(
  group(
    {
      model_name: key(text(), "", "The name by which the entry is chosen.", { shown: "required" }),
      provider: key(text(), "", "The provider.", { shown: "the part of `model` before `/`" }),
      protocol: key(
        choice("chat, responses or nothing", { "": "", chat: "chat", responses: "responses" }),
        "",
        "The API at OpenAI and compatible servers: `chat` completions, or `responses`.",
        { shown: "the one that the server offers or demands" },
      ),
      model: key(
        text("a model without blanks, leading / or //", isModel),
        "",
        "The model's id at the provider.",
        { shown: "required" },
      ),
      api_base: key(text(), "", "The address of the server.", { shown: "the provider's" }),
      api_keys: items(oneOrMore(secret()), "Keys, which are used in turn.", { reference: true }),
      enabled: optional(bool(), "Whether the entry may be used.", {
        shown: "true with a key, or without one at a local server",
      }),
      request_timeout: key(
        integer(0, 86_400),
        0,
        "Seconds of silence that a call may take, before its headers and between its bytes; 0 is 120.",
      ),
      max_tokens_field: key(text(), "", "The server's name for `max_tokens`."),
      custom_headers: entries(
        secretTable("an HTTP header of one line", isHeader),
        "Headers of each request.",
        { reference: true },
      ),
      extra_body: entries(anyObject(), "Fields of each request's body."),
      user_agent: key(text("text of one line", isHeaderText), "", "The User-Agent header."),
      proxy: key(
        address("an http, https or socks5 URL", isProxy),
        "",
        "URL of a proxy for this entry.",
        { shown: "the environment's" },
      ),
      fallbacks: items(
        texts(),
        "Names of `model_list` to ask, in order, when this entry fails; before `model_fallbacks`.",
      ),
      rpm: key(integer(0, MANY), 0, "Model calls a minute; 0 is no limit."),
      thinking_level: key(
        choice("off, low, medium, high, xhigh or adaptive", THINKING_LEVELS),
        "",
        "How much the model thinks: `off low medium high xhigh adaptive`.",
        { shown: "the provider's" },
      ),
      tool_schema_transform: key(
        choice('"simple" or nothing', { "": "", simple: "simple" }),
        "",
        "`simple` describes tools in the plainest JSON Schema.",
      ),
      prices: optionalGroup({
        input: key(decimal(0, MANY), 0, "Price of a million tokens that the model reads."),
        output: key(decimal(0, MANY), 0, "Price of a million tokens that the model writes."),
        cached: optional(
          decimal(0, MANY),
          "Price of a million tokens that the model reads from the provider's cache.",
          { shown: "the price of `input`" },
        ),
        cache_write: optional(
          decimal(0, MANY),
          "Price of a million tokens that Anthropic writes to its cache.",
          { shown: "1.25 times the price of `input`" },
        ),
      }),
    },
    GO_KEYS.model,
  ),
);

function isProxy(written: string): boolean {
  return written === "" || /^(?:https?|socks5h?):$/.test(URL.parse(written)?.protocol ?? "");
}

/** As Go PicoClaw's ValidateModelList has it. */
function isModel(model: string): boolean {
  return !/\s|^\/|\/\//.test(model);
}

/** RFC 9110, section 5. */
