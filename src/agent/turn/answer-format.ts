import type { AnswerFormat } from "../../base/contract.ts";
import { Failure } from "../../base/failure.ts";
import { fromJson } from "../../base/unknown.ts";
import type { Model, ModelCall, PromptMessage, Reply } from "../model/contract.ts";
import { isTransient, modelErrorOf } from "../model/errors.ts";
import { prefaced } from "./char-limit.ts";
import { addUsage } from "./turn.ts";
import { problemOf } from "./validate-json.ts";

/**
 * A model for one turn whose answer must be JSON of a schema. Yields no text of a reply before it fits: the text
 * is then the JSON alone, as the model wrote it. Asks once more if an answer does not fit; throws a `Failure` of
 * code `model` the second time. Replies with tool calls have no text.
 */
export function withFormat(model: Model, format: AnswerFormat): Model {
  const written = JSON.stringify(format.schema);
  let isRepeated = false;
  return async function* ask(question) {
    const messages = withInstruction(question.messages, written);
    const call = { ...question, messages, format };
    let reply = await whole(model, isRepeated ? { ...call, isFormatRepeated: true } : call);
    for (;;) {
      if (reply.toolCalls.length > 0) return { ...reply, text: "" };
      if (reply.text.trim() === "") return reply;
      const json = withoutFence(reply.text);
      const problem = problemIn(json, format);
      if (problem === undefined) {
        yield json;
        return { ...reply, text: json };
      }
      const why = reply.truncated ? `${problem}; it was cut at its limit of tokens` : problem;
      if (isRepeated) throw misfit(why);
      isRepeated = true;
      call.signal.throwIfAborted();
      const again = await whole(model, repeated(call, reply, correctionOf(why, written)));
      reply = withUsage(again, reply);
    }
  };
}

/** The instruction stands in the preface of the question, the last message of the user, and is not stored. */
function withInstruction(
  messages: readonly PromptMessage[],
  schema: string,
): readonly PromptMessage[] {
  const instruction = `[The answer to this question is read by a program: it must be one JSON value that fits this JSON Schema, and no other text. Tools may be called before it.\n${schema}]`;
  return prefaced(messages, instruction);
}

/**
 * Asks, and reads the reply to its end. A reply that breaks off after its first text is asked for once more, which the
 * model itself does not: none of the text has left.
 */
async function whole(model: Model, call: ModelCall): Promise<Reply> {
  let hasText = false;
  const read = async (): Promise<Reply> => {
    const stream = model(call);
    for (;;) {
      const step = await stream.next();
      if (step.done === true) return step.value;
      hasText = true;
    }
  };
  try {
    return await read();
  } catch (thrown) {
    const error = modelErrorOf(thrown);
    if (!hasText || error === undefined || !isTransient(error)) throw thrown;
    return await read();
  }
}

/** The text inside a code fence that is around the whole of it, trimmed. */
function withoutFence(text: string): string {
  const trimmed = text.trim();
  const end = trimmed.indexOf("\n");
  const isFenced = trimmed.startsWith("```") && trimmed.endsWith("```") && end !== -1;
  return isFenced ? trimmed.slice(end, -3).trim() : trimmed;
}

function problemIn(json: string, { schema }: AnswerFormat): string | undefined {
  let value: unknown;
  try {
    value = fromJson(json);
  } catch {
    return "it is not JSON";
  }
  return problemOf(value, schema);
}

function correctionOf(why: string, schema: string): string {
  return `[The answer does not have the form that was asked for: ${why}. Give the whole answer again, as one JSON value that fits this JSON Schema, and no other text:\n${schema}]`;
}

/** The call once more, with the answer and what is wrong with it. */
function repeated(call: ModelCall, { text }: Reply, correction: string): ModelCall {
  const said = [
    { role: "assistant", text },
    { role: "user", text: correction },
  ] as const;
  return { ...call, messages: [...call.messages, ...said], isFormatRepeated: true };
}

function withUsage(reply: Reply, { usage: before }: Reply): Reply {
  const usage = addUsage(before, reply.usage);
  return usage === undefined ? reply : { ...reply, usage };
}

function misfit(why: string): Failure {
  return new Failure("model", "the model's answer does not have the format that was asked for", {
    why: `twice it did not fit the schema: ${why}`,
    remedy: "ask for a simpler schema, or configure a model with structured outputs",
  });
}
