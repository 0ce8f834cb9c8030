import {
  calls,
  startModelServer,
  streams,
  type ModelServer,
  type ScriptedCall,
} from "../support/model-server.ts";
import type { Turn } from "./invariants.ts";

/** The answer to a request of the harness. */
export function answerTo(text: string): string {
  return `The answer to ${text} is: ${text.toUpperCase()}. That is all there is to say.`;
}

export interface RecordingModel extends AsyncDisposable {
  readonly server: ModelServer;
  readonly turns: readonly Turn[];
  /** How long an answer takes. */
  slow(milliseconds: number): void;
}

/**
 * A model that records its turns with their times. Questions are `<client> <id>`. With `callFor`, it calls that tool
 * before it answers.
 */
export async function startRecordingModel(
  callFor?: (question: string) => ScriptedCall,
): Promise<RecordingModel> {
  const server = await startModelServer();
  const turns: { client: string; id: string; from: number; to: number }[] = [];
  let milliseconds = 100;
  const begin = (text: string): (typeof turns)[number] => {
    const [client = "", id = ""] = text.split(" ");
    const turn = { client, id, from: performance.now(), to: Number.POSITIVE_INFINITY };
    turns.push(turn);
    return turn;
  };
  const begun = (text: string) => turns.findLast(({ client, id }) => `${client} ${id}` === text);
  server.otherwise(async (request, response) => {
    // A call without tools is for the summary of a long conversation.
    if ((request.body.tools ?? []).length === 0) {
      await streams({ text: "They said a lot.", milliseconds })(request, response);
      return;
    }
    const text = request.body.messages.findLast(({ role }) => role === "user")?.content ?? "";
    const isResult = request.body.messages.at(-1)?.role === "tool";
    const turn = (isResult ? begun(text) : undefined) ?? begin(text);
    const ends = Promise.withResolvers<number>();
    turn.to = Number.POSITIVE_INFINITY;
    request.gone.addEventListener("abort", () => ends.resolve(performance.now()));
    const call = isResult ? undefined : callFor?.(text);
    const behaviour = call ? calls(call) : streams({ text: answerTo(text), milliseconds });
    await behaviour(request, response);
    ends.resolve(performance.now());
    turn.to = await ends.promise;
  });
  return {
    server,
    turns,
    slow(time) {
      milliseconds = time;
    },
    [Symbol.asyncDispose]: () => server.close(),
  };
}
