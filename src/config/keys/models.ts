import { GO_KEYS } from "../compat/go/keys.ts";
import {
  address,
  anyObject,
  bool,
  choice,
  decimal,
  integer,
  oneOrMore,
  secret,
  secretTable,
  text,
  texts,
} from "../values.ts";
import { MANY } from "./agents.ts";
import { entries, group, items, key, listOf, optional, optionalGroup } from "./key.ts";

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
      provider: key(text(), "", "The protocol.", { shown: "the part of `model` before `/`" }),
      model: key(
        text("a model without blanks, leading / or //", isModel),
        "",
        "The model's id at the provider.",
        { shown: "required" },
      ),
      api_base: key(text(), "", "The address of the server.", { shown: "the provider's" }),
      api_keys: items(oneOrMore(secret()), "Keys, which are used in turn.", { reference: true }),
      enabled: optional(bool(), "Whether the entry may be asked.", {
        shown: "true with a key or a server of one's own",
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
function isHeader(name: string, value: string): boolean {
  return /^[!#$%&'*+.^_`|~\w-]+$/.test(name) && isHeaderText(value);
}

function isHeaderText(value: string): boolean {
  return /^[\t\u0020-\u007e\u0080-\u00ff]*$/.test(value);
}
