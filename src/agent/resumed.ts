import type { Message, ToolCall } from "./contract.ts";

/** What the model reads where the result of a call was not kept. */
const UNKNOWN =
  "[The program was cut off while this call ran. Whether it took effect is not known: check that before you call again.]";

/**
 * The steps of a turn that was cut off, fit to be shown to a model again: the results stand behind the
 * message with their calls, in the order of the calls, and each call without one is told as unknown.
 */
export function completed(steps: readonly Message[]): Message[] {
  const results = steps.filter((step) => step.role === "tool");
  return steps.flatMap((step): Message[] => {
    if (step.role !== "assistant") return [];
    const answers = (step.toolCalls ?? []).map((call) => take(results, call) ?? unknown(call));
    return [step, ...answers];
  });
}

/** The first result of that call; call ids may occur again in a later message. */
function take(
  results: Extract<Message, { role: "tool" }>[],
  { id }: ToolCall,
): Message | undefined {
  const at = results.findIndex(({ callId }) => callId === id);
  return at === -1 ? undefined : results.splice(at, 1)[0];
}

function unknown({ id, name }: ToolCall): Message {
  return { role: "tool", callId: id, name, text: UNKNOWN };
}
