import type { JSONRPCMessage, Transport } from "@modelcontextprotocol/client";
import { at, isObject, listAt, textAt } from "../../../base/unknown.ts";

type Fields = Readonly<Record<string, unknown>>;

/** The first version without a handshake. */
const FIRST_NEW = "2026-07-28";

/**
 * Mends the answers of a server before its client checks them, which would refuse a whole list for one wrong tool, and
 * each answer of servers that leave out what version 2026-07-28 demands.
 */
export function mendAnswers(transport: Transport): void {
  let isNew = false;
  const setVersion = transport.setProtocolVersion?.bind(transport);
  transport.setProtocolVersion = (version) => {
    isNew = version >= FIRST_NEW;
    setVersion?.(version);
  };
  let take: Transport["onmessage"];
  Object.defineProperty(transport, "onmessage", {
    get: () => take,
    set: (given: Transport["onmessage"]) => {
      take = given && ((message, extra) => given(mended(message, isNew), extra));
    },
  });
}

function mended<M extends JSONRPCMessage>(message: M, isNew: boolean): M {
  if (!("result" in message) || !isObject(message.result)) return message;
  const { result } = message;
  const isAnswerOfNew = isNew || Array.isArray(at(result, "supportedVersions"));
  const tools = Array.isArray(at(result, "tools")) && { tools: toolsIn(result) };
  const content = Array.isArray(at(result, "content")) && { content: partsIn(result) };
  return {
    ...message,
    result: { ...(isAnswerOfNew && DEMANDED), ...result, ...tools, ...content },
  };
}

/** What servers leave out, with what a client may take it for. */
const DEMANDED = { resultType: "complete", ttlMs: 0, cacheScope: "private" };

/** The tools with what is used of them here, and nothing of a wrong type. */
function toolsIn(result: unknown): readonly Fields[] {
  return listAt(result, "tools").flatMap((tool) => {
    const name = at(tool, "name");
    if (typeof name !== "string") return [];
    const readOnlyHint = at(at(tool, "annotations"), "readOnlyHint") === true;
    return [
      {
        name,
        ...textsOf(tool, ["title", "description"]),
        inputSchema: schemaOf(at(tool, "inputSchema")),
        ...(readOnlyHint && { annotations: { readOnlyHint } }),
      },
    ];
  });
}

function textsOf(tool: unknown, keys: readonly string[]): Fields {
  const found = keys.map((key) => [key, at(tool, key)] as const);
  return Object.fromEntries(found.filter(([, text]) => typeof text === "string"));
}

/** The parts of a result. One of a kind that is not known would make the client refuse the others. */
function partsIn(result: unknown): readonly unknown[] {
  return listAt(result, "content").map((part) => {
    const type = textAt(part, "type");
    const isWhole = PARTS[type]?.every((key) => typeof at(part, key) === "string");
    if (isWhole === true || (type === "resource" && isResource(at(part, "resource")))) return part;
    return { type: "text", text: "[a part of a kind that is not known here]" };
  });
}

/** The texts that a part of a kind has to have. */
const PARTS: Readonly<Record<string, readonly string[]>> = {
  text: ["text"],
  image: ["data", "mimeType"],
  audio: ["data", "mimeType"],
  resource_link: ["uri", "name"],
};

function isResource(resource: unknown): boolean {
  const has = (key: string): boolean => typeof at(resource, key) === "string";
  return has("uri") && (has("text") || has("blob"));
}

/** A schema of an object; its properties are schemas, and `required` a list of texts. */
function schemaOf(written: unknown): Fields {
  if (!isObject(written)) return { type: "object" };
  const { properties, required: _, ...rest } = written;
  const known = isObject(properties) ? Object.entries(properties) : [];
  const names = listAt(written, "required").filter((name) => typeof name === "string");
  return {
    ...rest,
    type: "object",
    properties: Object.fromEntries(
      known.map(([key, value]) => [key, isObject(value) ? value : {}]),
    ),
    ...(names.length > 0 && { required: names }),
  };
}
