import { fromJson } from "../../base/unknown.ts";
import type { Recipient } from "../contract.ts";
import { a2aReplyTopic, type A2aAddress } from "../protocol/topics.ts";
import type { A2aRecipient } from "./reply.ts";

/** Begins the opaque address of a request. */
const MARK = "a2a";

export function encodeAddress({
  topic,
  correlationData,
  id,
  taskId,
  contextId,
}: A2aRecipient): string {
  return JSON.stringify([MARK, topic, correlationData.toString("base64"), id, taskId, contextId]);
}

/** The address of a request of a former process, or of another gateway, which may have had another configuration. */
export function parseAddress(
  own: A2aAddress,
  { address, expiresAt }: Recipient,
): A2aRecipient | undefined {
  if (!address.startsWith(`["${MARK}",`)) return undefined;
  const found: unknown = fromJson(address);
  if (!Array.isArray(found)) return undefined;
  const [, topic, correlation, id, taskId, contextId] = found.map((one: unknown) =>
    typeof one === "number" ? one : String(one),
  );
  const way = a2aReplyTopic(own, String(topic));
  if (way === undefined || id === undefined) return undefined;
  const correlationData = Buffer.from(String(correlation), "base64");
  return {
    ...way,
    correlationData,
    id,
    taskId: String(taskId),
    contextId: String(contextId),
    expiresAt,
  };
}
