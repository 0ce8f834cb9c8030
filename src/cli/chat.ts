import type { Answerer, Message, Turned } from "../agent/contract.ts";
import { startDeadline } from "../base/async.ts";
import { escapeControl } from "../base/escape-control.ts";
import { Failure } from "../base/failure.ts";
import type { Output } from "../base/host.ts";

export interface Chat {
  readonly answerer: Answerer;
  readonly client: string;
  /** Reads the conversation so far, and appends a turn to it; neither rejects. */
  readonly history: () => Promise<readonly Message[]>;
  readonly append: (turned: Turned) => Promise<void>;
  /** How long one answer may take, from the question to its end. */
  readonly timeoutMs: number;
  readonly stdout: Output;
  readonly signal: AbortSignal;
}

/**
 * Prints the answer to one message as it arrives and stores the turn. Throws the answerer's `Failure`,
 * `no_answer` or `cut_off` when the time is over, and the signal's reason.
 */
export async function answerMessage(conversation: Chat, text: string): Promise<void> {
  const { answerer, client, stdout, signal } = conversation;
  const history = await conversation.history();
  let code: "no_answer" | "cut_off" = "no_answer";
  const deadline = startDeadline(conversation.timeoutMs, {
    parent: signal,
    reason: (milliseconds) =>
      new Failure(code, `the answer took longer than ${milliseconds / 1000} s`, {
        remedy: "raise agents.defaults.turn_timeout_secs",
      }),
  });
  const who = { client, isRemote: false, isAdmin: true };
  const turn = answerer({ history, text, ...who, signal: deadline.signal });
  let last = "";
  try {
    for (;;) {
      const step = await turn.next();
      if (step.done) return await conversation.append(step.value);
      code = "cut_off";
      last = step.value;
      await stdout.write(stdout.isTTY ? escapeControl(last, "\n\t") : last);
    }
  } catch (thrown) {
    throw deadline.signal.aborted ? deadline.signal.reason : thrown;
  } finally {
    deadline.close();
    if (last !== "" && !last.endsWith("\n")) await stdout.write("\n");
  }
}
