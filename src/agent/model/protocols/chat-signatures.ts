import { at, listAt, textAt } from "../../../base/unknown.ts";
import type { ToolCall } from "../../contract.ts";
import type { PromptMessage } from "../contract.ts";
import type { Endpoint } from "../endpoint.ts";
import { ModelError } from "../errors.ts";
import { MAX_TEXT } from "../http/answer.ts";
import { envelopeOwner, unwrapReasoning, wrapReasoning } from "../http/reasoning-envelope.ts";

type Fields = Readonly<Record<string, unknown>>;

/** The owner of the signatures in chat completions, which the native protocol of the same server does not read. */
export function signatureOwner(endpoint: Endpoint): string {
  return `chat/${envelopeOwner(endpoint)}`;
}

/** What a server requires back with the calls of an answer. */
export interface KeptAnswer {
  /** The reasoning as text; "" if there is none. */
  readonly text: string;
  /** Fields of the message. */
  readonly message: Fields;
  /** Fields of each call, in the order of the calls. */
  readonly calls: readonly Fields[];
}

/** The kept parts of a message; undefined if `by` did not send it, or if it has none. */
export function keptAnswer(message: PromptMessage, by: string): KeptAnswer | undefined {
  const kept = unwrapReasoning(by, message.role === "assistant" ? message.reasoning : undefined);
  if (kept === undefined) return undefined;
  return {
    text: textAt(kept, "text"),
    message: { ...Object(at(kept, "message")) },
    calls: listAt(kept, "calls").map((fields): Fields => Object(fields)),
  };
}

/** Fields of a call that hold its signature: Google's, and LiteLLM's. */
const OF_CALL = ["extra_content", "provider_specific_fields"];

/** The fields of a piece of a call that are sent back with the call. */
export function signatureFieldsOf(piece: unknown): Fields {
  return Object.fromEntries(
    OF_CALL.map((name) => [name, at(piece, name)]).filter(
      ([, value]) => typeof value === "object" && value !== null,
    ),
  );
}

/** Collects what a streamed message has beside its text and its calls. */
export function createSignatureCollector() {
  const details: Record<string, unknown>[] = [];
  let google: unknown;
  let characters = 0;

  return {
    take(delta: unknown): void {
      const pieces = listAt(delta, "reasoning_details");
      const signature = textAt(at(at(delta, "extra_content"), "google"), "thought_signature");
      if (pieces.length === 0 && signature === "") return;
      characters += JSON.stringify(pieces).length + signature.length;
      if (characters > MAX_TEXT) throw new ModelError("oversized", "the signatures are too long");
      for (const piece of pieces) addDetail(details, piece);
      if (signature !== "") google = { thought_signature: signature };
    },
    /** The fields of the message. */
    fields: (): Fields => ({
      ...(details.length > 0 && { reasoning_details: details }),
      ...(google !== undefined && { extra_content: { google } }),
    }),
  };
}

/** Fields of a detail whose pieces are joined; each other field is in one of the pieces. */
const JOINED: ReadonlySet<string> = new Set(["text", "summary", "data"]);

/** Adds a piece to the detail it belongs to (openrouter.ai/docs, "Reasoning tokens"), or as a new one. */
function addDetail(details: Record<string, unknown>[], piece: unknown): void {
  if (typeof piece !== "object" || piece === null) return;
  const begun = details.findLast((detail) => isPieceOf(detail, piece));
  if (begun === undefined) {
    details.push({ ...piece });
    return;
  }
  for (const [name, value] of Object.entries(piece)) {
    if (value === null || value === undefined) continue;
    const isJoined = JOINED.has(name) && typeof value === "string";
    begun[name] = isJoined ? textAt(begun, name) + value : value;
  }
}

/** Whether a piece goes on with a detail: the details of two calls may have one index, but have their ids. */
function isPieceOf(detail: unknown, piece: unknown): boolean {
  const isSame = ["type", "index"].every((name) => at(detail, name) === at(piece, name));
  const [known, id] = [textAt(detail, "id"), textAt(piece, "id")];
  const isOther = known !== "" && id !== "" && known !== id;
  const isWhole = at(piece, "index") === undefined && textAt(piece, "data") !== "";
  return isSame && !isOther && !isWhole;
}

/** The facts of an answer that decide whether something of it is kept. */
export interface AnswerFacts {
  readonly by: string;
  /** The pattern of the ids that every server accepts. */
  readonly ids: RegExp;
  readonly toolCalls: readonly ToolCall[];
  readonly kept: KeptAnswer;
}

/** The `reasoning` of a reply: an envelope if calls have signatures, or ids that must not change; otherwise the text. */
export function reasoningOf({ by, ids, toolCalls, kept }: AnswerFacts): string | undefined {
  const isSigned = [kept.message, ...kept.calls].some((fields) => Object.keys(fields).length > 0);
  const isKept = toolCalls.length > 0 && (isSigned || toolCalls.some(({ id }) => !ids.test(id)));
  return isKept ? wrapReasoning(by, kept) : kept.text || undefined;
}
