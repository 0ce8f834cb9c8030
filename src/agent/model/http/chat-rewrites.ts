import { createHash } from "node:crypto";
import { at, listAt, textAt } from "../../../base/unknown.ts";

type ChatBody = Readonly<Record<string, unknown>>;

/** Writes the messages of a body in the form that a model's template requires; returns the same body if they have it. */
export type ChatRewrite = (body: ChatBody) => ChatBody;

/**
 * The rewrite of a body that a refusal demands; undefined if there is none. The refusals are those of templates
 * of Llama 3 and Mistral, which some servers send with a 500, and of OpenAI's Responses.
 */
export function rewriteFor(message: string, body: ChatBody): ChatRewrite | undefined {
  const found = REWRITES.find(
    ({ words, rewrite }) => words.test(message) && rewrite(body) !== body,
  );
  return found?.rewrite;
}

const REWRITES: readonly { readonly words: RegExp; readonly rewrite: ChatRewrite }[] = [
  { words: /only supports single tool-calls at once/i, rewrite: withSingleCalls },
  { words: /\btool call ids?\b.{0,200}\blength (?:of )?9\b/is, rewrite: withShortIds },
  {
    words: /\bencrypted content\b.{0,200}\bcould not be\b|\bitems are not persisted\b/is,
    rewrite: withoutReasoning,
  },
];

/** A chat in which each message has at most one tool call, followed by its result; the same body if it is one. */
function withSingleCalls(body: ChatBody): ChatBody {
  const messages = listAt(body, "messages");
  const isSingle = messages.every((message) => listAt(message, "tool_calls").length < 2);
  if (isSingle) return body;
  const single = messages.flatMap((message, index) => {
    const calls = listAt(message, "tool_calls");
    if (calls.length === 0) return isResult(message) ? [] : [message];
    const end = messages.findIndex((one, place) => place > index && !isResult(one));
    const results = messages.slice(index + 1, end === -1 ? undefined : end);
    return calls.flatMap((call, position) => {
      const result = results.filter((one) => at(one, "tool_call_id") === at(call, "id"));
      const said = { ...Object(message), tool_calls: [call] };
      if (position > 0) said.content = null;
      return [said].concat(result);
    });
  });
  return { ...body, messages: single };
}

/** Responses without the encrypted reasoning, which another account cannot read; without ids, which belong to it. */
function withoutReasoning(body: ChatBody): ChatBody {
  const input = listAt(body, "input");
  const others = input.filter((item) => textAt(item, "type") !== "reasoning");
  if (others.length === input.length) return body;
  return {
    ...body,
    input: others.map((item): unknown => Object.assign({}, item, { id: undefined })),
  };
}

function isResult(message: unknown): boolean {
  return at(message, "role") === "tool";
}

/** A chat whose call ids have nine letters and digits; the same body if it is one. */
function withShortIds(body: ChatBody): ChatBody {
  const messages = listAt(body, "messages");
  const isShort = messages.every((message) => idsIn(message).every((id) => SHORT_ID.test(id)));
  return isShort ? body : { ...body, messages: messages.map(withShortIdsIn) };
}

function withShortIdsIn(message: unknown): unknown {
  if (idsIn(message).length === 0) return message;
  if (isResult(message)) {
    return { ...Object(message), tool_call_id: shortId(textAt(message, "tool_call_id")) };
  }
  const calls = listAt(message, "tool_calls").map((call): unknown =>
    Object.assign({}, call, { id: shortId(textAt(call, "id")) }),
  );
  return { ...Object(message), tool_calls: calls };
}

const SHORT_ID = /^[a-z\d]{9}$/i;

function idsIn(message: unknown): string[] {
  if (isResult(message)) return [textAt(message, "tool_call_id")];
  return listAt(message, "tool_calls").map((call) => textAt(call, "id"));
}

function shortId(id: string): string {
  return SHORT_ID.test(id) ? id : createHash("sha256").update(id).digest("hex").slice(0, 9);
}
