import { openLongConversation } from "../test/agent/long-conversation.ts";
import { until } from "../test/support/until.ts";

/**
 * What a request waits for while 500 messages of a conversation are summarized by a model that takes one
 * question at a time: the questions to the model before its first own and among its own that were not
 * its own, and the delay against one question. Ends with 1 where one waited for more than one.
 */
const QUESTION_MS = 100;

interface Waited {
  /** Questions to the model that it waited for. */
  readonly questions: number;
  /** Against the same request without any summary, in questions. */
  readonly delay: number;
}

const ASKED = [
  ["talker", "one word"],
  ["other", "one word of another client"],
  ["talker", "work, please"],
  ["other", "work for another client"],
] as const;

let most = 0;
for (const [client, text] of ASKED) {
  const { questions, delay } = await waited(client, text);
  most = Math.max(most, questions);
  console.log(
    `${client} asks for ${text}: waited for ${questions} questions of the summary, ${delay.toFixed(2)} of one question's time`,
  );
}
process.exitCode = most <= 1 ? 0 : 1;

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
