import { at, textAt } from "../../../base/unknown.ts";

/**
 * What a provider wants back unchanged with the results of its tool calls (thinking with its signature),
 * as the opaque `reasoning` of a reply. `by` names protocol and model: nobody else may be sent it.
 */
export function wrapReasoning(by: string, kept: unknown): string {
  return JSON.stringify({ by, kept });
}

/** What `packed` put in; undefined where another model did, or nobody. */
export function unwrapReasoning(by: string, reasoning: string | undefined): unknown {
  if (reasoning === undefined || !isReasoningEnvelope(reasoning)) return undefined;
  try {
    const carrier: unknown = JSON.parse(reasoning);
    return textAt(carrier, "by") === by ? at(carrier, "kept") : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a reasoning is such a carrier and no words that a model thought. */
export function isReasoningEnvelope(reasoning: string): boolean {
  return reasoning.startsWith('{"by":"');
}
