import { at, textAt } from "../../../base/unknown.ts";
import type { Endpoint } from "../endpoint.ts";

/**
 * Wraps data that a provider requires back unchanged with the results of its tool calls, such as signed
 * thinking, as the opaque `reasoning` of a reply. `by` names protocol, server and model: no other gets it back.
 */
export function wrapReasoning(by: string, kept: unknown): string {
  return JSON.stringify({ by, kept });
}

/** The wrapped data; undefined if another model wrapped it, or none. */
export function unwrapReasoning(by: string, reasoning: string | undefined): unknown {
  if (reasoning === undefined || !isReasoningEnvelope(reasoning)) return undefined;
  try {
    const envelope: unknown = JSON.parse(reasoning);
    return textAt(envelope, "by") === by ? at(envelope, "kept") : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a reasoning is an envelope, and not a model's text. */
export function isReasoningEnvelope(reasoning: string): boolean {
  return reasoning.startsWith('{"by":"');
}

/** Names a server's model in an envelope: its signatures are invalid for other models, and may be at other servers. */
export function envelopeOwner({
  protocol,
  base,
  model,
}: Pick<Endpoint, "protocol" | "base" | "model">): string {
  return `${protocol}/${base}/${model}`;
}
