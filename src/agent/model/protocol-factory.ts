import type { Log } from "../../base/log.ts";
import { createMessageAnswer } from "./anthropic/answer.ts";
import {
  DEFAULT_MAX_TOKENS,
  messagesBody,
  messagesHeaders,
  messagesUrl,
} from "./anthropic/request.ts";
import type { Fetch, Protocol } from "./contract.ts";
import type { Endpoint, Dialect } from "./endpoint.ts";
import { createContentAnswer } from "./gemini/answer.ts";
import { generateBody, generateHeaders, generateUrl } from "./gemini/request.ts";
import type { RequestSettings, ProtocolDialect } from "./http/protocol.ts";
import { createHttpProtocol } from "./http/protocol.ts";
import { envelopeOwner } from "./http/reasoning-envelope.ts";
import { createChatAnswer } from "./openai/answer.ts";
import { azureUrl, chatBody, chatUrl, createStreaming } from "./openai/request.ts";
import { isThinkingLost } from "./thinking.ts";

export interface ProtocolOptions {
  readonly settings: RequestSettings;
  readonly fetch: Fetch;
  readonly log: Log;
}

/** Creates the protocol of an endpoint. */
export function createProtocol({ settings, fetch, log }: ProtocolOptions): Protocol {
  warnOfLostThinking(settings, log);
  const { dialect = "chat-completions" } = settings.endpoint.facts;
  // `endpointOf` refuses endpoints of unsupported dialects before this.
  const name = dialect === "later" ? "chat-completions" : dialect;
  return FACTORIES[name](settings, fetch);
}

const FACTORIES: Readonly<
  Record<Exclude<Dialect, "later">, (settings: RequestSettings, fetch: Fetch) => Protocol>
> = {
  "chat-completions": createChatProtocol,
  azure: createAzureProtocol,
  anthropic: createMessagesProtocol,
  gemini: createGeminiProtocol,
};

function warnOfLostThinking({ endpoint, entry, defaults }: RequestSettings, log: Log): void {
  if (!isClaude(endpoint)) return;
  const { max_tokens } = defaults;
  const maxTokens = max_tokens > 0 ? max_tokens : DEFAULT_MAX_TOKENS;
  const wish = { level: entry.thinking_level, model: endpoint.model, maxTokens };
  if (!isThinkingLost("anthropic", wish)) return;
  log.warn("the model will not think: agents.defaults.max_tokens is too small for it", {
    model: endpoint.label,
    max_tokens,
  });
}

function isClaude({ facts }: Endpoint): boolean {
  return facts.dialect === "anthropic" || facts.thinking === "anthropic";
}

/** Anthropic's Messages API, streamed; also for compatible servers. */
function createMessagesProtocol(settings: RequestSettings, fetch: Fetch): Protocol {
  const exchange = {
    url: messagesUrl(settings.endpoint.base),
    headers: messagesHeaders,
    body: messagesBody.bind(undefined, settings),
    answer: createMessageAnswer.bind(undefined, envelopeOwner(settings.endpoint)),
  };
  return createHttpProtocol(exchange, settings.entry, fetch);
}

/** Gemini's content generation, streamed. */
function createGeminiProtocol(settings: RequestSettings, fetch: Fetch): Protocol {
  const exchange = {
    url: generateUrl(settings.endpoint),
    headers: generateHeaders,
    body: generateBody.bind(undefined, settings),
    answer: createContentAnswer.bind(undefined, envelopeOwner(settings.endpoint)),
  };
  return createHttpProtocol(exchange, settings.entry, fetch);
}

/** OpenAI's chat completions, streamed; also for compatible servers. */
function createChatProtocol(settings: RequestSettings, fetch: Fetch): Protocol {
  const ways = { url: chatUrl(settings.endpoint.base), headers: bearer };
  return createHttpProtocol(exchangeOf(settings, ways), settings.entry, fetch);
}

/** Chat completions on Azure: another URL, and the key in another header. */
function createAzureProtocol(settings: RequestSettings, fetch: Fetch): Protocol {
  const ways = { url: azureUrl(settings.endpoint), headers: apiKey };
  return createHttpProtocol(exchangeOf(settings, ways), settings.entry, fetch);
}

function exchangeOf(
  settings: RequestSettings,
  ways: Pick<ProtocolDialect, "url" | "headers">,
): ProtocolDialect {
  const { endpoint, entry } = settings;
  const withUsage = endpoint.facts.noStreamOptions !== true;
  const streaming = createStreaming({ withUsage, fixed: entry.extra_body });
  return {
    ...ways,
    body: (question) => chatBody(settings, question, streaming.fields()),
    answer: createChatAnswer,
    adaptsTo: streaming.adapts,
  };
}

function bearer(key: string | undefined): Record<string, string> {
  return key === undefined ? {} : { authorization: `Bearer ${key}` };
}

function apiKey(key: string | undefined): Record<string, string> {
  return key === undefined ? {} : { "api-key": key };
}
