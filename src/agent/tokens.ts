import type { Message } from "./contract.ts";

/** Tokens for each character, as a rule of thumb over languages and models. */
const PER_CHARACTER = 2 / 5;
/** What a message costs beside its words. */
const PER_MESSAGE = 4;

/** About how many tokens so many characters are. */
export function roughTokens(characters: number): number {
  return Math.ceil(characters * PER_CHARACTER);
}

/** About how many tokens a text or some messages are to a model; never exact, cheap to ask. */
export function estimatedTokens(said: string | readonly Message[]): number {
  if (typeof said === "string") return roughTokens(charactersOf(said));
  return said.reduce(
    (total, message) => total + estimatedTokens(wordsOf(message)) + PER_MESSAGE,
    0,
  );
}

function wordsOf(message: Message): string {
  if (message.role !== "assistant") return message.text;
  const calls = message.toolCalls ?? [];
  return [message.text, ...calls.map((call) => call.name + call.arguments)].join("");
}

/** Code points: a pair of surrogates is one. */
function charactersOf(text: string): number {
  let count = text.length;
  for (let index = 0; index < text.length; index += 1) {
    if ((text.codePointAt(index) ?? 0) > 0xffff) count -= 1;
  }
  return count;
}
