import type { Turned } from "../contract.ts";
import type { Model, PromptMessage } from "../model/contract.ts";

const ELLIPSIS = "…";

/** The text of a stream with at most so many code points: its end is cut off after a word, and "…" says so. */
export interface CharLimit {
  /** What may be sent of the text so far. The last word waits, because the limit may cut it. */
  add(text: string): string;
  end(): string;
}

/** `limit` is at least 1. */
export function createCharLimit(limit: number): CharLimit {
  let sent = 0;
  let held: string[] = [];
  let isOver = false;
  const take = (count: number): string => {
    const text = held.slice(0, count).join("");
    sent += count;
    held = held.slice(count);
    return text;
  };
  return {
    add(text) {
      if (isOver) return "";
      held = held.concat(Array.from(text));
      // Room for what says that the rest is missing.
      const room = limit - 1 - sent;
      isOver = sent + held.length > limit;
      const end = held.slice(0, room + 1).findLastIndex((point) => /\s/.test(point));
      if (!isOver) return end > 0 ? take(end) : "";
      // A single word that is too long is cut within.
      const cut = end > 0 || sent > 0 ? Math.max(end, 0) : room;
      const shown = take(cut);
      held = [];
      return `${shown.trimEnd()}${ELLIPSIS}`;
    },
    end: () => (isOver ? "" : take(held.length)),
  };
}

/** The same answer with at most so many code points. What is remembered of the turn is the whole. */
export async function* limited(
  answer: AsyncGenerator<string, Turned>,
  limit: number,
): AsyncGenerator<string, Turned> {
  const chars = createCharLimit(limit);
  try {
    for (;;) {
      const step = await answer.next();
      const text = step.done ? chars.end() : chars.add(step.value);
      if (text !== "") yield text;
      if (step.done) return step.value;
    }
  } finally {
    // A cancelled turn ends within, too.
    await answer.return({ messages: [] });
  }
}

/** A model that reads in the preface of the question how long its answer may be. */
export function withMaxChars(model: Model, limit: number): Model {
  const instruction = `[The answer is shown in a small place: at most ${limit} characters, as plain text without markup. What is longer is cut off.]`;
  return (question) => model({ ...question, messages: prefaced(question.messages, instruction) });
}

/** An instruction in the preface of the question, the last message of the user; it is not stored. */
export function prefaced(
  messages: readonly PromptMessage[],
  instruction: string,
): readonly PromptMessage[] {
  const index = messages.findLastIndex(({ role }) => role === "user");
  const question = messages[index];
  if (question?.role !== "user") return messages;
  const { preface } = question;
  const asked = preface === undefined ? instruction : `${instruction}\n\n${preface}`;
  return messages.with(index, { ...question, preface: asked });
}
