import { asFailure, Failure } from "../base/failure.ts";
import type { AnswerPart, Requester, RequestOptions } from "../mqtt/contract.ts";
import type { Result } from "./result.ts";
import { failedResult } from "./result.ts";

/** Where the parts of an answer go as they come. */
export interface AnswerPrinter {
  part(part: AnswerPart): Promise<void>;
  /** No more parts will come. */
  end(): Promise<void>;
}

/** How asking ended; `failure` is absent where the whole answer came. */
export interface Outcome {
  readonly result: Result;
  readonly failure?: Failure;
}

export interface Asking {
  readonly device: Pick<Requester, "request">;
  readonly question: RequestOptions;
  readonly printer: AnswerPrinter;
  /** Milliseconds on a clock that never goes back. */
  readonly now: () => number;
}

/** Asks once and prints the answer as it comes. Never rejects: what went wrong is in the outcome. */
export async function ask({ device, question, printer, now }: Asking): Promise<Outcome> {
  const answer: Answer = { text: "" };
  const begun = now();
  let failure: Failure | undefined;
  try {
    for await (const part of device.request(question)) {
      keep(answer, part, now() - begun);
      await printer.part(part);
    }
    // A signal that came after the last part came too late to matter.
    if (answer.last?.done !== true) question.signal.throwIfAborted();
    failure = failureIn(answer);
  } catch (thrown) {
    failure = asFailure(question.signal.aborted ? question.signal.reason : thrown);
  }
  await printer.end();
  return outcomeOf(question, answer, failure);
}

interface Answer {
  /** Without an error's sentence. */
  text: string;
  last?: AnswerPart;
  msFirst?: number;
  msLast?: number;
}

function keep(answer: Answer, part: AnswerPart, elapsed: number): void {
  const text = part.error === undefined ? part.text : "";
  answer.text = part.restart ? text : answer.text + text;
  answer.last = part;
  answer.msFirst ??= Math.round(elapsed);
  answer.msLast = Math.round(elapsed);
}

/** An answer that ended in an error, or in nothing at all. */
function failureIn({ last }: Answer): Failure | undefined {
  if (last === undefined) return new Failure("no_answer", "no answer came");
  if (last.error === undefined) return undefined;
  const { code, retryAfter } = last.error;
  const message = last.text.trim() === "" ? "the agent answered with an error" : last.text;
  return new Failure("failed", message, {
    why: `the agent answered with the error "${code}"`,
    ...(retryAfter === undefined ? {} : { retryAfter, remedy: `again in ${retryAfter} s` }),
  });
}

function outcomeOf({ id, client }: RequestOptions, answer: Answer, failure?: Failure): Outcome {
  const { text, last, msFirst, msLast } = answer;
  const times = {
    ...(msFirst === undefined ? {} : { msFirst }),
    ...(msLast === undefined ? {} : { msLast }),
  };
  const facts = { id, client, text, ...times };
  if (failure === undefined) return { result: { outcome: "ok", exit: 0, ...facts } };
  const failed = failedResult(failure);
  // The code of the wire says more than that the answer was an error.
  const outcome =
    failure.code === "failed" ? (last?.error?.code ?? failed.outcome) : failed.outcome;
  return { result: { ...failed, outcome, ...facts }, failure };
}
