import type { Fetch, Protocol } from "../contract.ts";
import { createHttpProtocol } from "../http/ask.ts";
import type { RequestSettings } from "../http/settings.ts";
import { createMessageAnswer } from "./answer.ts";
import { carrierName, messagesBody, messagesHeaders, messagesUrl } from "./request.ts";

/** Anthropic's own messages, streamed, as Anthropic and those who copy it speak them. */
export function createMessagesProtocol(settings: RequestSettings, fetch: Fetch): Protocol {
  const exchange = {
    url: messagesUrl(settings.endpoint.base),
    headers: messagesHeaders,
    body: messagesBody.bind(undefined, settings),
    answer: createMessageAnswer.bind(undefined, carrierName(settings.endpoint)),
  };
  return createHttpProtocol(exchange, settings.entry, fetch);
}
