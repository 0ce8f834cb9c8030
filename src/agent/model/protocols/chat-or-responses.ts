import type { Fetch, Protocol } from "../contract.ts";
import { classOf } from "../errors.ts";
import type { ModelError } from "../errors.ts";
import type { RequestSettings } from "../http/protocol.ts";
import { createChatProtocol } from "./openai.ts";
import { createResponsesProtocol } from "./responses.ts";

/**
 * Chat completions, until the server demands Responses for the model, and Responses from then on. If the server
 * refuses those before their first answer, chat completions again, as the server allows them; if it refuses the
 * same call there, too, the refusal was about the call.
 */
export function createChatOrResponses(settings: RequestSettings, fetch: Fetch): Protocol {
  const { memory } = settings;
  let api: "chat" | "responses" | undefined;
  /** Chat completions are asked because Responses were refused. */
  let isBack = false;
  /** An answer came after a move: the entry stays where it is. */
  let isSettled = false;

  const chat = createChatProtocol(
    settings,
    settling(() => isBack),
    (refusal, adapt) => {
      if (!isBack && demandsResponses(refusal)) {
        api = "responses";
        return true;
      }
      const differs = adapt();
      if (isBack && !isSettled && !differs) [api, isBack] = ["responses", false];
      return differs;
    },
  );
  const responses = createResponsesProtocol(
    settings,
    settling(() => {
      memory?.set(API, "responses");
      return true;
    }),
    (refusal, adapt) => {
      if (adapt()) return true;
      if (isSettled || !isAbout(refusal)) return false;
      [api, isBack] = ["chat", true];
      return true;
    },
  );
  return (attempt) => {
    api ??= memory?.get(API) === "responses" ? "responses" : "chat";
    return api === "chat" ? chat(attempt) : responses(attempt);
  };

  function settling(decides: () => boolean): Fetch {
    return async (url, init) => {
      const response = await fetch(url, init);
      isSettled ||= response.ok && decides();
      return response;
    };
  }
}

/** The part of the memory that says which API the model wants. */
const API = "api";

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
