import type { Fetch, Protocol } from "../contract.ts";
import { createHttpProtocol } from "../http/ask.ts";
import type { Exchange } from "../http/ask.ts";
import type { RequestSettings } from "../http/settings.ts";
import { createChatAnswer } from "./answer.ts";
import { azureUrl } from "./azure.ts";
import { chatBody, chatUrl } from "./request.ts";
import { createStreaming } from "./streaming.ts";

/** OpenAI's chat completions, streamed, as its many likes speak them. */
export function createChatProtocol(settings: RequestSettings, fetch: Fetch): Protocol {
  const ways = { url: chatUrl(settings.endpoint.base), headers: bearer };
  return createHttpProtocol(exchangeOf(settings, ways), settings.entry, fetch);
}

/** Chat completions as Azure serves them: another URL, and the key in a header of its own. */
export function createAzureProtocol(settings: RequestSettings, fetch: Fetch): Protocol {
  const ways = { url: azureUrl(settings.endpoint), headers: apiKey };
  return createHttpProtocol(exchangeOf(settings, ways), settings.entry, fetch);
}

function exchangeOf(settings: RequestSettings, ways: Pick<Exchange, "url" | "headers">): Exchange {
  const { endpoint, entry } = settings;
  const withUsage = endpoint.facts.noStreamOptions !== true;
  const streaming = createStreaming({ withUsage, insisted: entry.extra_body });
  return {
    ...ways,
    body: (question) => chatBody(settings, question, streaming.fields()),
    answer: createChatAnswer,
    adapts: streaming.adapts,
  };
}

function bearer(key: string | undefined): Record<string, string> {
  return key === undefined ? {} : { authorization: `Bearer ${key}` };
}

function apiKey(key: string | undefined): Record<string, string> {
  return key === undefined ? {} : { "api-key": key };
}
