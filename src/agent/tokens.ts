import type { Message } from "./contract.ts";

/** Tokens per character: a rule of thumb over languages and models. */
const PER_CHARACTER = 2 / 5;
/** Tokens of a message in addition to its text. */
const PER_MESSAGE = 4;

/** Estimates the tokens of a number of characters. */
export function roughTokens(characters: number): number {
  return Math.ceil(characters * PER_CHARACTER);
}

/** Estimates the tokens of a text or of messages. Cheap, and never exact. */
export function estimatedTokens(texts: string | readonly Message[]): number {
  if (typeof texts === "string") return roughTokens(charactersOf(texts));
  return texts.reduce(
    (total, message) => total + estimatedTokens(wordsOf(message)) + PER_MESSAGE,
    0,
  );
}

function wordsOf(message: Message): string {
  if (message.role === "user") return message.text + (message.preface ?? "");
  if (message.role !== "assistant") return message.text;
  const calls = message.toolCalls ?? [];
  return [message.text, ...calls.map((call) => call.name + call.arguments)].join("");
}

/** Counts code points: a surrogate pair is one. */
function charactersOf(text: string): number {
  let count = text.length;
  for (let index = 0; index < text.length; index += 1) {
    if ((text.codePointAt(index) ?? 0) > 0xffff) count -= 1;
  }
  return count;
}
