import { redactFailure } from "../base/redaction/redactor.ts";
import type { Redactor } from "../base/redaction/redactor.ts";
import type { Answerer, Message, Turn, Turned } from "./contract.ts";
import type { Compact } from "./turn/compaction.ts";

/**
 * The same answers with all secrets masked: in the stream, in the messages to store, and in the texts of
 * a failure. Pieces are cut elsewhere if their end may still become a secret. The user's text is unchanged.
 */
export function redactedAnswerer(answer: Answerer, redactor: Redactor): Answerer {
  return async function* redacted(turn: Turn): AsyncGenerator<string, Turned> {
    const { record } = turn;
    const recordRedacted =
      record && ((message: Message) => record(redactedMessage(message, redactor)));
    const source = answer({ ...turn, ...(recordRedacted && { record: recordRedacted }) });
    const stream = redactor.stream();
    let isDone = false;
    try {
      for (;;) {
        const step = await nextOrThrown(source);
        isDone = "thrown" in step || step.done === true;
        const isPiece = "value" in step && step.done !== true;
        const text = isPiece ? stream.push(step.value) : stream.end();
        if (text !== "" && !turn.signal.aborted) yield text;
        if ("thrown" in step) throw redactFailure(step.thrown, redactor);
        if (step.done === true) return redactedTurned(step.value, redactor);
      }
    } finally {
      // A reader that leaves in the middle, or throws into this generator, ends the source as well.
      if (!isDone) await source.return({ messages: [] });
    }
  };
}

async function nextOrThrown(
  source: AsyncGenerator<string, Turned>,
): Promise<IteratorResult<string, Turned> | { readonly thrown: unknown }> {
  try {
    return await source.next();
  } catch (thrown) {
    return { thrown };
  }
}

/** Redacts the secrets in summaries. */
export function redactedCompact(compact: Compact, redactor: Redactor): Compact {
  const redacted: Compact = async (...args) => {
    const compaction = await compact(...args);
    return compaction && { ...compaction, summary: redactedMessage(compaction.summary, redactor) };
  };
  return Object.assign(redacted, compact.isDue && { isDue: compact.isDue });
}

function redactedTurned(turned: Turned, redactor: Redactor): Turned {
  return {
    ...turned,
    messages: turned.messages.map((message) => redactedMessage(message, redactor)),
  };
}

/** Names and ids of tool calls are the model's text as well. */
function redactedMessage(message: Message, redactor: Redactor): Message {
  if (message.role === "user") return message;
  const text = redactor.redact(message.text);
  if (message.role === "tool") {
    return {
      ...message,
      text,
      name: redactor.redact(message.name),
      callId: redactor.redact(message.callId),
    };
  }
  if (message.role !== "assistant" || message.toolCalls === undefined) return { ...message, text };
  const toolCalls = message.toolCalls.map((call) => ({
    ...call,
    id: redactor.redact(call.id),
    name: redactor.redact(call.name),
    arguments: redactor.redact(call.arguments),
  }));
  return { ...message, text, toolCalls };
}
