import type { RequestExtras } from "../../base/contract.ts";
import { Failure } from "../../base/failure.ts";
import { extrasOf } from "../../base/request-extras.ts";
import { at, isObject, listAt, textAt } from "../../base/unknown.ts";

/** What `POST /api/chat` asks. */
export interface ChatRequest {
  /** As it was asked for. */
  readonly model: string;
  /** The last message, which is the user's; undefined to load the model only. */
  readonly question?: { readonly text: string; readonly extras?: RequestExtras | undefined };
  readonly stream: boolean;
}

/** UTF-16 units of a question. */
const LONGEST_TEXT = 262_144;
const IMAGE_TEXT = "Describe this image.";

/**
 * Reads a chat request. Of its messages only the last one counts: system prompt, history and tools are those of the
 * agent. Throws a `Failure` of code `bad_request` or `too_large`.
 */
export function chatRequestOf(body: unknown): ChatRequest {
  if (!isObject(body)) throw refused("it is not a JSON object");
  const facts = { model: textAt(body, "model"), stream: body["stream"] !== false };
  if (facts.model === "") throw refused("it has no model");
  const messages = listAt(body, "messages");
  if (messages.length === 0) return facts;
  const message = messages.at(-1);
  if (textAt(message, "role") !== "user") throw refused("its last message is not from the user");
  const images = listAt(message, "images");
  const extras = extrasOf(formatIn(body), images.length === 0 ? undefined : images.map(imageUrl));
  if (typeof extras === "string") throw refused(extras);
  const content = textAt(message, "content");
  const text = content.trim() === "" && images.length > 0 ? IMAGE_TEXT : content;
  if (text.trim() === "") throw refused("its last message is blank");
  if (text.length > LONGEST_TEXT) throw tooLarge();
  return { ...facts, question: { text, extras } };
}

/** `json` or a schema, as a request over MQTT has it. */
function formatIn(body: object): unknown {
  const format = at(body, "format") ?? "";
  if (format === "") return undefined;
  return { type: "json_schema", schema: format === "json" ? { type: "object" } : format };
}

/** Images come as base64 alone; their type is that of their bytes. */
function imageUrl(image: unknown): unknown {
  const isBare = typeof image === "string" && !image.startsWith("data:");
  return isBare ? `data:image/png;base64,${image}` : image;
}

function tooLarge(): Failure {
  return new Failure("too_large", `the question is longer than ${LONGEST_TEXT} characters`);
}

function refused(what: string): Failure {
  return new Failure("bad_request", `the request was not understood: ${what}`);
}
