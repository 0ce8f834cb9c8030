import type { Log } from "../../base/log.ts";
import { createMessagesProtocol } from "./anthropic/messages.ts";
import { DEFAULT_MAX_TOKENS } from "./anthropic/request.ts";
import type { Fetch, Protocol } from "./contract.ts";
import type { Endpoint } from "./endpoint.ts";
import { createGeminiProtocol } from "./gemini/generate.ts";
import type { RequestSettings } from "./http/settings.ts";
import { createAzureProtocol, createChatProtocol } from "./openai/chat.ts";
import type { Dialect } from "./protocols.ts";
import { isThinkingLost } from "./thinking.ts";

export interface ProtocolOptions {
  readonly settings: RequestSettings;
  readonly fetch: Fetch;
  readonly log: Log;
}

/** The protocol of an endpoint, ready to be asked in its dialect. */
export function createProtocol({ settings, fetch, log }: ProtocolOptions): Protocol {
  warnOfLostThinking(settings, log);
  const { dialect = "chat-completions" } = settings.endpoint.facts;
  // An endpoint of a dialect that is not spoken is refused before it comes to this.
  const spoken = dialect === "later" ? "chat-completions" : dialect;
  return FACTORIES[spoken](settings, fetch);
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
  log.warn("the model will not think: agents.defaults.max_tokens leaves no room for it", {
    model: endpoint.label,
    max_tokens,
  });
}

function isClaude({ facts }: Endpoint): boolean {
  return facts.dialect === "anthropic" || facts.thinking === "anthropic";
}
