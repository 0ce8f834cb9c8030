import type { Fetch, Protocol } from "../contract.ts";
import { createHttpProtocol } from "../http/ask.ts";
import type { RequestSettings } from "../http/settings.ts";
import { createContentAnswer } from "./answer.ts";
import { carrierName, generateBody, generateHeaders, generateUrl } from "./request.ts";

/** Gemini's own content generation, streamed. */
export function createGeminiProtocol(settings: RequestSettings, fetch: Fetch): Protocol {
  const exchange = {
    url: generateUrl(settings.endpoint),
    headers: generateHeaders,
    body: generateBody.bind(undefined, settings),
    answer: createContentAnswer.bind(undefined, carrierName(settings.endpoint)),
  };
  return createHttpProtocol(exchange, settings.entry, fetch);
}
