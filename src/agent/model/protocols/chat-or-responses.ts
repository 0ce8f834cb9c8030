import type { Fetch, Protocol } from "../contract.ts";
import { classOf } from "../errors.ts";
import type { ModelError } from "../errors.ts";
import type { RequestSettings } from "../http/protocol.ts";
import { createChatProtocol } from "./openai.ts";
import { createResponsesProtocol } from "./responses.ts";

/**
 * Chat completions, until the server demands Responses for the model, and Responses from then on. If the server refuses
 * those before their first answer, chat completions again, as the server allows them.
 */
export function createChatOrResponses(settings: RequestSettings, fetch: Fetch): Protocol {
  let api: "chat" | "responses" = "chat";
  let isSettled = false;
  const chat = createChatProtocol(settings, fetch, (refusal, adapt) => {
    if ((isSettled && api === "chat") || !demandsResponses(refusal)) return adapt();
    api = "responses";
    return true;
  });
  const fetchAndSettle: Fetch = async (url, init) => {
    const response = await fetch(url, init);
    isSettled ||= response.ok;
    return response;
  };
  const responses = createResponsesProtocol(settings, fetchAndSettle, (refusal, adapt) => {
    if (adapt()) return true;
    if (isSettled || !isAbout(refusal)) return false;
    [api, isSettled] = ["chat", true];
    return true;
  });
  return (attempt) => (api === "chat" ? chat(attempt) : responses(attempt));
}

/** OpenAI's words for a model that takes tools, or anything, only in Responses. */
const DEMAND = /\bv1\/responses\b|this is not a chat model/i;

function demandsResponses({ kind, message }: ModelError): boolean {
  return kind === "refused" && DEMAND.test(message);
}

/** Whether an error is about the API or its parameters, and not about time or money. */
function isAbout(refusal: ModelError): boolean {
  if (refusal.kind === "overflow") return false;
  // A restricted key of OpenAI: "Missing scopes: api.responses.write".
  return (
    /\bapi\.responses\b/.test(refusal.message) || ["final", "absent"].includes(classOf(refusal))
  );
}
