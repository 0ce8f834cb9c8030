import type { Fetch, Protocol } from "../contract.ts";
import { createHttpProtocol } from "../http/ask.ts";
import type { RequestSettings } from "../http/settings.ts";
import { createChatAnswer } from "./answer.ts";
import { azureUrl } from "./azure.ts";
import { chatBody, chatUrl } from "./request.ts";

/** OpenAI's chat completions, streamed, as its many likes speak them. */
export function createChatProtocol(settings: RequestSettings, fetch: Fetch): Protocol {
  const exchange = {
    url: chatUrl(settings.endpoint.base),
    headers: bearer,
    body: chatBody.bind(undefined, settings),
    answer: createChatAnswer,
  };
  return createHttpProtocol(exchange, settings.entry, fetch);
}

/** Chat completions as Azure serves them: another URL, and the key in a header of its own. */
export function createAzureProtocol(settings: RequestSettings, fetch: Fetch): Protocol {
  const exchange = {
    url: azureUrl(settings.endpoint),
    headers: apiKey,
    body: chatBody.bind(undefined, settings),
    answer: createChatAnswer,
  };
  return createHttpProtocol(exchange, settings.entry, fetch);
}

function bearer(key: string | undefined): Record<string, string> {
  return key === undefined ? {} : { authorization: `Bearer ${key}` };
}

function apiKey(key: string | undefined): Record<string, string> {
  return key === undefined ? {} : { "api-key": key };
}
