import { Failure } from "../../base/failure.ts";
import { nearestWord } from "../../base/spelling.ts";
import type { ModelEntry } from "../../config/contract.ts";
import { PROTOCOLS, protocolNamed, protocolWords } from "./protocols.ts";
import type { ProtocolFacts } from "./protocols.ts";

/** Where and how to ask for a model: an entry of `model_list`, resolved. */
export interface Endpoint {
  /** For the log and for failures: `model_list "gpt"`. */
  readonly label: string;
  readonly protocol: string;
  readonly facts: ProtocolFacts;
  /** Without slashes at its end. */
  readonly base: string;
  /** As the server wants to read it. */
  readonly model: string;
  /** None where the server wants none. */
  readonly keys: readonly string[];
}

/**
 * Resolves an entry: an explicit `provider` wins and leaves the model's name untouched; else the part
 * before the first slash names the protocol where it is known; else it is openai. Throws a `Failure`
 * of code `config` for what can never work.
 */
export function endpointOf(entry: ModelEntry): Endpoint {
  const label = `model_list "${entry.model_name}"`;
  const { protocol, model } = protocolOf(entry, label);
  const facts = PROTOCOLS[protocol] ?? {};
  if (facts.dialect === "later") throw unspoken(protocol, label);
  const base = baseOf(entry.api_base || facts.base, label);
  return { label, protocol, facts, base, model, keys: keysOf(entry, facts, label) };
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
  if (prefixed === undefined) return { protocol: "openai", model };
  // OpenRouter's own models alone have no vendor: `openrouter/auto`.
  const own = prefixed === "openrouter" && !rest.includes("/");
  return { protocol: prefixed, model: own ? model : rest };
}

function splitOnce(model: string): [string | undefined, string] {
  const slash = model.indexOf("/");
  return slash < 1 ? [undefined, model] : [model.slice(0, slash), model.slice(slash + 1)];
}

function baseOf(written: string | undefined, label: string): string {
  const base = (written ?? "").trim().replace(/\/+$/, "");
  const url = URL.parse(base);
  if (url === null || !["http:", "https:"].includes(url.protocol)) {
    throw new Failure("config", `${label} has no usable api_base`, {
      why: base === "" ? "it is empty" : "it is not an http or https URL",
      remedy: "set its key api_base, as in https://host/v1",
    });
  }
  if (url.username !== "" || url.password !== "") {
    throw new Failure("config", `${label} has a user name or a password in its api_base`, {
      remedy: "give credentials with api_keys or custom_headers",
    });
  }
  return base;
}

function keysOf(entry: ModelEntry, facts: ProtocolFacts, label: string): string[] {
  const keys = entry.api_keys.map((key) => key.reveal().trim()).filter((key) => key !== "");
  if (keys.some((key) => !/^[\u0021-\u007e]+$/.test(key))) {
    throw new Failure("config", `${label} has a key that cannot be a key`, {
      why: "it holds a blank, a line break or a character beyond ASCII",
      remedy: "copy the key again, in one piece",
    });
  }
  if (keys.length > 0 || entry.api_base !== "" || facts.keyless === true) return keys;
  throw new Failure("config", `${label} has no key`, {
    why: "its provider wants one",
    remedy: "set its api_keys in .security.yml, or its api_base where a server of yours wants none",
  });
}

/** Where the models of a protocol that is not spoken can be had in one that is. */
const WAYS_OUT: Readonly<Record<string, string>> = {
  bedrock: "reach its models over a gateway such as litellm, or with their makers' own APIs",
  "github-copilot": "take an entry of openai, anthropic or gemini with a key of your own",
  antigravity: "take the protocol gemini with an API key",
  "claude-cli": "take the protocol anthropic with an API key",
  "codex-cli": "take the protocol openai with an API key",
  elevenlabs: "name it where speech is set up; an agent needs a model that writes text",
};

function unspoken(protocol: string, label: string): Failure {
  return new Failure("config", `${label} uses the protocol ${protocol}, which is not spoken here`, {
    why: "spoken are OpenAI-compatible chat completions, and what Anthropic, Gemini and Azure have of their own",
    remedy: WAYS_OUT[protocol] ?? "choose an entry such as openai, openrouter or ollama",
  });
}

function unknownProtocol(word: string, label: string): Failure {
  const nearest = nearestWord(word, protocolWords());
  const remedy = nearest === undefined ? "set its key provider to a known protocol" : undefined;
  return new Failure("config", `${label} has the unknown protocol ${JSON.stringify(word)}`, {
    remedy: remedy ?? `did you mean ${nearest}?`,
  });
}
