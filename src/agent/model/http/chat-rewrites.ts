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

/** The names of rewrites that later processes need, too. */
export function namesOf(rewrites: ReadonlySet<ChatRewrite>): string[] {
  return REWRITES.flatMap(({ name, rewrite }) =>
    name !== undefined && rewrites.has(rewrite) ? [name] : [],
  );
}

export function rewritesNamed(names: readonly unknown[]): ChatRewrite[] {
  return REWRITES.filter(({ name }) => name !== undefined && names.includes(name)).map(
    ({ rewrite }) => rewrite,
  );
}

interface KnownRewrite {
  /** Stored; absent if the refusal is about one conversation, and not about the model. */
  readonly name?: string;
  /** Of the refusal that demands it. */
  readonly words: RegExp;
  readonly rewrite: ChatRewrite;
}

const REWRITES: readonly KnownRewrite[] = [
  {
    name: "single calls",
    words: /only supports single tool-calls at once/i,
    rewrite: withSingleCalls,
  },
  {
    name: "stand-in details",
    words: /openrouter reasoning details\b.{0,400}\bthought_signature/is,
    rewrite: withStandInDetails,
  },
  {
    name: "stand-ins",
    words: /\bmissing a [`'"]?thought_signature/i,
    rewrite: withStandIns,
  },
  {
    name: "short ids",
    words: /\btool call ids?\b.{0,200}\blength (?:of )?9\b/is,
    rewrite: withShortIds,
  },
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
      if (position > 0) Object.assign(said, { content: null, reasoning_details: undefined });
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

/**
 * Replaces a missing signature: the call is another model's, or from a stored history, which has no
 * signatures. Google documents this value (ai.google.dev/gemini-api/docs/thought-signatures).
 */
export const NO_SIGNATURE = "skip_thought_signature_validator";

/** A chat in which each first call has a signature, where Google has it; the same body if it is one. */
function withStandIns(body: ChatBody): ChatBody {
  return withUnsigned(body, (message) => {
    const [call, ...others] = listAt(message, "tool_calls");
    if (at(call, "extra_content") !== undefined) return message;
    const extra_content = { google: { thought_signature: NO_SIGNATURE } };
    return { ...Object(message), tool_calls: [{ ...Object(call), extra_content }, ...others] };
  });
}

/** The same where OpenRouter has it: beside the calls, with the id of one. */
function withStandInDetails(body: ChatBody): ChatBody {
  return withUnsigned(body, (message) => {
    if (listAt(message, "reasoning_details").length > 0) return message;
    const id = textAt(listAt(message, "tool_calls")[0], "id");
    const detail = { type: "reasoning.encrypted", data: NO_SIGNATURE, id, index: 0 };
    return { ...Object(message), reasoning_details: [{ ...detail, format: "google-gemini-v1" }] };
  });
}

/** Changes the messages with calls; returns the same body if none differs. */
function withUnsigned(body: ChatBody, sign: (message: unknown) => unknown): ChatBody {
  const messages = listAt(body, "messages");
  const signed = messages.map((message) =>
    listAt(message, "tool_calls").length === 0 ? message : sign(message),
  );
  const isSame = signed.every((message, index) => message === messages[index]);
  return isSame ? body : { ...body, messages: signed };
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
