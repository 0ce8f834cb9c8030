import { startModelServer, streams, type ModelServer } from "../support/model-server.ts";
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

/** A model that records its calls with their times. Questions are `<client> <id>`. */
export async function startRecordingModel(): Promise<RecordingModel> {
  const server = await startModelServer();
  const turns: { client: string; id: string; from: number; to: number }[] = [];
  let milliseconds = 100;
  server.otherwise(async (request, response) => {
    // A call without tools is for the summary of a long conversation.
    if ((request.body.tools ?? []).length === 0) {
      await streams({ text: "They said a lot.", milliseconds })(request, response);
      return;
    }
    const text = request.body.messages.findLast(({ role }) => role === "user")?.content ?? "";
    const [client = "", id = ""] = text.split(" ");
    const turn = { client, id, from: performance.now(), to: Number.POSITIVE_INFINITY };
    turns.push(turn);
    request.gone.addEventListener("abort", () => {
      turn.to = Math.min(turn.to, performance.now());
    });
    await streams({ text: answerTo(text), milliseconds })(request, response);
    turn.to = Math.min(turn.to, performance.now());
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
