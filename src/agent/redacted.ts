import { veiledFailure } from "../base/veil.ts";
import type { Veil } from "../base/veil.ts";
import type { Answerer, Message, Turn, Turned } from "./contract.ts";
import type { Condenser } from "./turn/compaction.ts";

/**
 * The same answers without secrets: what is streamed, what is to be remembered, and what a failure
 * says. The pieces are cut otherwise where one may still become a secret, and together they are what is
 * remembered. The user's words stay as they are.
 */
export function veiledAnswerer(answer: Answerer, veil: Veil): Answerer {
  return async function* veiled(turn: Turn): AsyncGenerator<string, Turned> {
    const { record } = turn;
    const keep = record && ((message: Message) => record(veiledMessage(message, veil)));
    const source = answer({ ...turn, ...(keep && { record: keep }) });
    const stream = veil.stream();
    try {
      for (;;) {
        const step = await source.next().catch((thrown: unknown) => ({ thrown }));
        const isPiece = "value" in step && step.done !== true;
        const text = isPiece ? stream.push(step.value) : stream.end();
        if (text !== "" && !turn.signal.aborted) yield text;
        if ("thrown" in step) throw veiledFailure(step.thrown, veil);
        if (step.done === true) return veiledTurned(step.value, veil);
      }
    } finally {
      // Whoever leaves in the middle, or throws into it, ends the source, too.
      await source.return({ messages: [] });
    }
  };
}

/** Summaries without secrets. */
export function veiledCondenser(condense: Condenser, veil: Veil): Condenser {
  return async (...what) => {
    const condensed = await condense(...what);
    return condensed && { ...condensed, summary: veiledMessage(condensed.summary, veil) };
  };
}

function veiledTurned(turned: Turned, veil: Veil): Turned {
  return { ...turned, messages: turned.messages.map((message) => veiledMessage(message, veil)) };
}

/** A model chooses the names and the ids of calls, too. */
function veiledMessage(message: Message, veil: Veil): Message {
  if (message.role === "user") return message;
  const text = veil.text(message.text);
  if (message.role === "tool") {
    return { ...message, text, name: veil.text(message.name), callId: veil.text(message.callId) };
  }
  if (message.role !== "assistant" || message.toolCalls === undefined) return { ...message, text };
  const toolCalls = message.toolCalls.map((call) => ({
    ...call,
    id: veil.text(call.id),
    name: veil.text(call.name),
    arguments: veil.text(call.arguments),
  }));
  return { ...message, text, toolCalls };
}
