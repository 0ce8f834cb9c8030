import type { AnswerFormat } from "../../../base/contract.ts";
import { at, listAt, textAt } from "../../../base/unknown.ts";
import { closedSchema } from "../answer-schema.ts";
import { regionOf } from "../cloud-endpoint.ts";
import type { Fetch, ModelCall, Protocol } from "../contract.ts";
import { ModelError } from "../errors.ts";
import type { AnswerBuilder } from "../http/answer.ts";
import { eventStreamToServerSentEvents } from "../http/aws-event-stream.ts";
import { signatureHeaders } from "../http/aws-signature.ts";
import type { AwsCredentials } from "../http/aws-signature.ts";
import { createHttpProtocol } from "../http/protocol.ts";
import type { RequestSettings } from "../http/protocol.ts";
import { envelopeOwner } from "../http/reasoning-envelope.ts";
import { createMessageAnswer, messagesBody } from "./anthropic.ts";

type Fields = Readonly<Record<string, unknown>>;

/**
 * Amazon Bedrock's ConverseStream (docs.aws.amazon.com/bedrock, "ConverseStream"). A key is an API key of Bedrock,
 * or `<access key id>:<secret access key>[:<session token>]`, with which each request is signed.
 */
export function createBedrockProtocol(settings: RequestSettings, fetch: Fetch): Protocol {
  const { endpoint, entry } = settings;
  const url = `${endpoint.base}/model/${encodeURIComponent(endpoint.model)}/converse-stream`;
  const region = regionOf(endpoint.base);
  const open = (key: string | undefined): Protocol => {
    const credentials = credentialsIn(key);
    const dialect = {
      memory: settings.memory,
      url,
      headers: () => headersFor(credentials === undefined ? key : undefined),
      body: (call: ModelCall) => converseBody(settings, call),
      format: textFormat,
      formatsWithTools: true,
      answer: () => createConverseAnswer(envelopeOwner(endpoint)),
    };
    return createHttpProtocol(dialect, entry, converseFetch(fetch, region, credentials));
  };
  const protocols = new Map<string | undefined, Protocol>();
  return (attempt) => {
    const protocol = protocols.get(attempt.key) ?? open(attempt.key);
    protocols.set(attempt.key, protocol);
    return protocol(attempt);
  };
}

function headersFor(key: string | undefined): Record<string, string> {
  const accept = "*/*";
  return key === undefined ? { accept } : { accept, authorization: `Bearer ${key}` };
}

function credentialsIn(key: string | undefined): AwsCredentials | undefined {
  const [accessKeyId = "", secretAccessKey, sessionToken] = key?.split(":") ?? [];
  return secretAccessKey === undefined
    ? undefined
    : { accessKeyId, secretAccessKey, sessionToken: sessionToken || undefined };
}

/** Amazon refuses signatures that are older or newer, in milliseconds. */
const MAX_SKEW_MS = 5 * 60_000;

/**
 * Signs requests unless they have an `authorization`, and decodes event streams. If the clock of this device is
 * wrong, signs by the clock of the server from then on.
 */
function converseFetch(
  fetch: Fetch,
  region: string,
  credentials: AwsCredentials | undefined,
): Fetch {
  let skew = 0;
  const send: Fetch = (url, init) => {
    const headers = new Headers(init.headers);
    if (credentials !== undefined && !headers.has("authorization")) {
      const date = new Date(Date.now() + skew);
      const scope = { credentials, region, service: "bedrock", date };
      const request = { method: "POST", url: new URL(url), body: textOf(init.body) };
      for (const [name, value] of Object.entries(signatureHeaders(request, scope))) {
        headers.set(name, value);
      }
    }
    return fetch(url, { ...init, headers });
  };
  return async (url, init) => {
    const response = await send(url, init);
    const found = Date.parse(response.headers.get("date") ?? "") - Date.now();
    const isSkewed = response.status === 403 && Math.abs(found - skew) > MAX_SKEW_MS;
    if (credentials === undefined || !isSkewed) return decoded(response);
    skew = found;
    await response.body?.cancel();
    return decoded(await send(url, init));
  };
}

/** A body of `createHttpProtocol` is a text. */
function textOf(body: unknown): string {
  return typeof body === "string" ? body : "";
}

function decoded(response: Response): Response {
  const { body, status, headers } = response;
  const type = headers.get("content-type") ?? "";
  if (body === null || !type.startsWith("application/vnd.amazon.eventstream")) return response;
  const events = body.pipeThrough(eventStreamToServerSentEvents());
  return new Response(events, { status, headers: { "content-type": "text/event-stream" } });
}

/** The models of Anthropic whose prompts Bedrock caches. */
const CACHED = /claude-[a-z]+-\d/;

/** The body of one request, made of the one that Anthropic's own API gets; `extra_body` overrides it. */
function converseBody(settings: RequestSettings, call: ModelCall): Fields {
  const { endpoint, entry, defaults } = settings;
  const isClaude = /claude/i.test(endpoint.model);
  const thinking_level = isClaude ? entry.thinking_level : "";
  const asked = { ...settings, entry: { ...entry, thinking_level, extra_body: {} } };
  const { max_tokens, system, messages, tools, temperature, thinking, output_config }: Fields =
    messagesBody(asked, call, CACHED.test(endpoint.model));
  const more = {
    ...(thinking !== undefined && { thinking }),
    ...(output_config !== undefined && { output_config }),
  };
  const hasLimit = defaults.max_tokens !== undefined && defaults.max_tokens > 0;
  const inferenceConfig = {
    ...((hasLimit || thinking !== undefined) && { maxTokens: max_tokens }),
    ...(temperature !== undefined && { temperature }),
    ...Object(at(entry.extra_body, "inferenceConfig")),
  };
  const hasTools = call.tools.length > 0;
  const turns = listAt({ messages }, "messages").map((turn) => ({
    role: textAt(turn, "role"),
    content: listAt(turn, "content").flatMap((block) => contentBlocks(block, hasTools)),
  }));
  return {
    ...(system !== undefined && { system: systemBlocks(system) }),
    messages: turns,
    ...(hasTools && { toolConfig: { tools: listAt({ tools }, "tools").map(toolSpec) } }),
    ...(Object.keys(more).length > 0 && { additionalModelRequestFields: more }),
    ...entry.extra_body,
    ...(Object.keys(inferenceConfig).length > 0 && { inferenceConfig }),
  };
}

function textFormat({ schema }: AnswerFormat): Fields {
  const jsonSchema = { name: "answer", schema: JSON.stringify(closedSchema(schema, false)) };
  return { outputConfig: { textFormat: { type: "json_schema", structure: { jsonSchema } } } };
}

function systemBlocks(system: unknown): Fields[] {
  if (typeof system === "string") return [{ text: system }];
  return listAt({ system }, "system").flatMap((block) => contentBlocks(block, false));
}

function toolSpec(tool: unknown): Fields {
  const [name, description] = [textAt(tool, "name"), textAt(tool, "description")];
  return { toolSpec: { name, description, inputSchema: { json: at(tool, "input_schema") } } };
}

/** A block of Anthropic's API as one of Converse, and a point of the cache after it if it has a mark. */
function contentBlocks(block: unknown, hasTools: boolean): Fields[] {
  const mark =
    at(block, "cache_control") === undefined ? [] : [{ cachePoint: { type: "default" } }];
  return [contentBlock(block, hasTools), ...mark];
}

/** Bedrock refuses calls and results in a request without tools, so they are told as texts then. */
function contentBlock(block: unknown, hasTools: boolean): Fields {
  const [type, name] = [textAt(block, "type"), textAt(block, "name")];
  const input = at(block, "input");
  switch (type) {
    case "tool_use":
      if (!hasTools) return { text: `[called ${name} with ${JSON.stringify(input)}]` };
      return { toolUse: { toolUseId: textAt(block, "id"), name, input } };
    case "tool_result":
      return hasTools ? toolResult(block) : { text: `[result: ${resultText(block)}]` };
    case "thinking": {
      const signature = textAt(block, "signature");
      return {
        reasoningContent: { reasoningText: { text: textAt(block, "thinking"), signature } },
      };
    }
    case "redacted_thinking":
      return { reasoningContent: { redactedContent: textAt(block, "data") } };
    case "image": {
      const source = at(block, "source");
      const format = textAt(source, "media_type").replace("image/", "");
      return { image: { format, source: { bytes: textAt(source, "data") } } };
    }
    default:
      return { text: textAt(block, "text") };
  }
}

/** The text of a result, which may have images. */
function resultText(block: unknown): string {
  const texts = listAt(block, "content").map((part) => textAt(part, "text"));
  return textAt(block, "content") || texts.join("");
}

function toolResult(block: unknown): Fields {
  const text = textAt(block, "content");
  const parts = listAt(block, "content").map((part) => contentBlock(part, true));
  return {
    toolResult: {
      toolUseId: textAt(block, "tool_use_id"),
      content: parts.length > 0 ? parts : [{ text: text.trim() === "" ? "(nothing)" : text }],
      ...(at(block, "is_error") === true && { status: "error" }),
    },
  };
}

const PARTS = ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop"].concat(
  ["messageStop", "metadata", "output"],
);

/** Builds one reply from the events of ConverseStream, or from a whole answer of Converse. */
export function createConverseAnswer(by: string): AnswerBuilder {
  const answer = createMessageAnswer(by);
  const begun = new Set<unknown>();
  return {
    get finished() {
      return answer.finished;
    },
    get ended() {
      return answer.ended;
    },
    recognizes: (chunk) => PARTS.some((part) => at(chunk, part) !== undefined),
    take: (chunk) =>
      messageEvents(chunk, begun)
        .map((event) => answer.take(event))
        .join(""),
    end: () => answer.end(),
    reply: () => answer.reply(),
  };
}

/** The events of Anthropic's API for one of Bedrock; `begun` holds the indexes of the blocks that have begun. */
function messageEvents(chunk: unknown, begun: Set<unknown>): Fields[] {
  const [start, delta] = [at(chunk, "contentBlockStart"), at(chunk, "contentBlockDelta")];
  if (at(chunk, "output") !== undefined) return [wholeMessage(chunk)];
  if (start !== undefined) {
    const index = at(start, "contentBlockIndex");
    const toolUse = at(at(start, "start"), "toolUse");
    if (toolUse === undefined) return [];
    begun.add(index);
    return [{ type: "content_block_start", index, content_block: callBlock(toolUse, {}) }];
  }
  if (delta !== undefined) {
    const index = at(delta, "contentBlockIndex");
    const [block, grown] = growth(at(delta, "delta"));
    const beginning = begun.has(index)
      ? []
      : [{ type: "content_block_start", index, content_block: block }];
    begun.add(index);
    return [...beginning, { type: "content_block_delta", index, delta: grown }];
  }
  if (at(chunk, "messageStop") !== undefined) {
    const stop_reason = stopReason(textAt(at(chunk, "messageStop"), "stopReason"));
    return [{ type: "message_delta", delta: { stop_reason } }];
  }
  if (at(chunk, "metadata") !== undefined) {
    return [{ type: "message_stop", usage: usageIn(at(chunk, "metadata")) }];
  }
  const error = at(chunk, "error") ?? exceptionIn(chunk);
  return error === undefined ? [] : [{ error }];
}

/** An exception that is a document: `{"__type": …, "message": …}`. */
function exceptionIn(chunk: unknown): Fields | undefined {
  const message = textAt(chunk, "message") || textAt(chunk, "Message");
  return message === "" ? undefined : { type: textAt(chunk, "__type"), message };
}

/** The empty block that a piece belongs to, and the piece. */
function growth(delta: unknown): readonly [Fields, Fields] {
  const toolUse = at(delta, "toolUse");
  const reasoning = at(delta, "reasoningContent");
  if (toolUse !== undefined) return [callBlock({}, {}), { partial_json: textAt(toolUse, "input") }];
  if (reasoning === undefined) return [{ type: "text", text: "" }, { text: textAt(delta, "text") }];
  const data = textAt(reasoning, "redactedContent");
  if (data !== "") return [{ type: "redacted_thinking", data }, {}];
  const [thinking, signature] = [textAt(reasoning, "text"), textAt(reasoning, "signature")];
  return [
    { type: "thinking", thinking: "", signature: "" },
    { thinking, signature },
  ];
}

function callBlock(toolUse: unknown, input: unknown): Fields {
  return {
    type: "tool_use",
    id: textAt(toolUse, "toolUseId"),
    name: textAt(toolUse, "name"),
    input,
  };
}

function wholeMessage(answer: unknown): Fields {
  const content = listAt(at(at(answer, "output"), "message"), "content").map((block) => {
    const [toolUse, reasoning] = [at(block, "toolUse"), at(block, "reasoningContent")];
    if (toolUse !== undefined) return callBlock(toolUse, at(toolUse, "input"));
    if (reasoning === undefined) return { type: "text", text: textAt(block, "text") };
    const data = textAt(reasoning, "redactedContent");
    const thought = at(reasoning, "reasoningText");
    const [thinking, signature] = [textAt(thought, "text"), textAt(thought, "signature")];
    return data === ""
      ? { type: "thinking", thinking, signature }
      : { type: "redacted_thinking", data };
  });
  const stop_reason = stopReason(textAt(answer, "stopReason"));
  return { type: "message", content, stop_reason, usage: usageIn(answer) };
}

/** The stop reason in the words of Anthropic. Throws a `ModelError` if the model wrote nonsense. */
function stopReason(reason: string): string {
  if (reason.startsWith("malformed_")) throw new ModelError("broken_off", `stopReason ${reason}`);
  return /^(?:guardrail_intervened|content_filtered)$/.test(reason) ? "refusal" : reason;
}

function usageIn(event: unknown): Fields {
  const usage = at(event, "usage");
  return {
    input_tokens: at(usage, "inputTokens"),
    output_tokens: at(usage, "outputTokens"),
    cache_read_input_tokens: at(usage, "cacheReadInputTokens"),
    cache_creation_input_tokens: at(usage, "cacheWriteInputTokens"),
  };
}
