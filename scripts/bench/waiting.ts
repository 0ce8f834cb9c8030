import { openLongConversation } from "../../test/agent/long-conversation.ts";
import { until } from "../../test/support/until.ts";
import type { Figure } from "./figure.ts";

const QUESTION_MS = 100;

const ASKED = [
  ["talker", "one word"],
  ["other", "one word of another client"],
  ["talker", "work, please"],
  ["other", "work for another client"],
] as const;

/**
 * What a request waits for while 500 messages of a conversation are summarized by a model that takes one
 * question at a time, in questions to the model. Throws where one waits for more than one.
 */
export async function* waitingFigures(): AsyncGenerator<Figure> {
  const delays: number[] = [];
  for (const [client, text] of ASKED) {
    const { questions, delay } = await waited(client, text);
    if (questions > 1) throw new Error(`${client} waited for ${questions} questions: ${text}`);
    delays.push(delay);
  }
  yield {
    name: "a request waits for a summary that is under way",
    unit: "questions",
    ours: delays,
    reference: { name: "one question", values: [1] },
  };
}

interface Waited {
  /** Questions to the model that it waited for. */
  readonly questions: number;
  /** Against the same request without any summary, in questions. */
  readonly delay: number;
}

async function waited(client: string, text: string): Promise<Waited> {
  await using conversation = await openLongConversation(QUESTION_MS);
  const { begun, summaries } = conversation;
  await conversation.say("talker", "the first").done;
  await until("a summary is under way", () => summaries() > 0);
  const from = begun.length;
  const [ms, own] = await timed(async () => conversation.say(client, text).done, begun, text);
  const questions = 1 + begun.slice(from, begun.lastIndexOf(text)).filter(isSummary).length;
  return { questions, delay: ms / QUESTION_MS - own };
}

async function timed(
  ask: () => Promise<unknown>,
  begun: readonly string[],
  text: string,
): Promise<readonly [ms: number, questions: number]> {
  const start = performance.now();
  await ask();
  return [performance.now() - start, begun.filter((what) => what === text).length];
}

function isSummary(what: string): boolean {
  return what === "summary";
}
