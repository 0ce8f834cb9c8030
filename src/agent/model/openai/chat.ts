import type { Attempt, Fetch, Protocol } from "../contract.ts";
import { ModelFault } from "../fault.ts";
import type { FaultKind } from "../fault.ts";
import { chunksOf } from "../stream.ts";
import { createAnswerBuilder } from "./answer.ts";
import type { AnswerBuilder } from "./answer.ts";
import { refusalOf } from "./refusal.ts";
import { chatBody, chatHeaders, chatUrl } from "./request.ts";
import type { RequestSettings } from "./request.ts";

/** Once the server said why the answer ends, only the usage and `[DONE]` can follow. */
const ENDING_MS = 5_000;
/** The status says enough: an error's body is not waited for as long as an answer. */
const REFUSAL_MS = 5_000;

/** OpenAI's chat completions, streamed, as its many likes speak them. */
export function createChatProtocol(settings: RequestSettings, fetch: Fetch): Protocol {
  const url = chatUrl(settings.endpoint.base);
  return async function* ask(attempt) {
    const response = await post(url, { settings, attempt, fetch });
    if (!response.ok) {
      attempt.moved(REFUSAL_MS);
      throw await refusalOf(response);
    }
    const answer = createAnswerBuilder();
    const whole = response.body === null ? false : yield* textOf(response.body, answer, attempt);
    if (!whole) throw new ModelFault("broken_off", "the stream ended before the answer did");
    const rest = answer.rest();
    if (rest !== "") yield rest;
    return answer.reply();
  };
}

interface Post {
  readonly settings: RequestSettings;
  readonly attempt: Attempt;
  readonly fetch: Fetch;
}

async function post(url: string, { settings, attempt, fetch }: Post): Promise<Response> {
  const body = JSON.stringify(chatBody(settings, attempt.question));
  const headers = chatHeaders(settings.entry, attempt.key);
  try {
    return await fetch(url, {
      method: "POST",
      headers,
      body,
      signal: attempt.signal,
      // A redirected POST would lose its body, or carry the key to another host.
      redirect: "manual",
      // Bun's own limit of 5 minutes; the signal holds the one that is configured.
      timeout: false,
    });
  } catch (thrown) {
    throw faultOf(thrown, "unreachable", attempt.signal);
  } finally {
    attempt.moved();
  }
}

/** Yields the text of a body; returns whether the server said that it is whole. */
async function* textOf(
  body: ReadableStream<Uint8Array>,
  answer: AnswerBuilder,
  attempt: Attempt,
): AsyncGenerator<string, boolean> {
  let announced = false;
  try {
    for await (const chunk of chunksOf(body, attempt.moved)) {
      if (chunk === "done") {
        announced = true;
        continue;
      }
      const text = answer.take(chunk.json);
      if (text !== "") yield text;
      if (chunk.whole) announced = true;
      else if (answer.finished) attempt.moved(ENDING_MS);
    }
  } catch (thrown) {
    const isOurs = thrown instanceof ModelFault && thrown.kind !== "silent";
    if (isOurs || !answer.finished) throw faultOf(thrown, "broken_off", attempt.signal);
  }
  return announced || answer.finished;
}

/** What the network did, as a fault; a fault, or the reason of an abort, stays what it is. */
function faultOf(thrown: unknown, kind: FaultKind, signal: AbortSignal): unknown {
  if (thrown instanceof ModelFault) return thrown;
  if (signal.aborted) return signal.reason;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new ModelFault(kind, message, { cause: thrown });
}
