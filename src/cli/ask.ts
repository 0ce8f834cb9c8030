import { jsonLine, escapeControl } from "../base/escape-control.ts";
import { asFailure, Failure } from "../base/failure.ts";
import type { Output } from "../base/host.ts";
import { SILENT } from "../base/log.ts";
import type { MqttChannel } from "../config/contract.ts";
import type { AnswerPart, Requester, RequestOptions } from "../mqtt/contract.ts";
import { isDeviceClient } from "../mqtt/protocol/topics.ts";
import type { OutputFormat } from "./args/flags.ts";
import type { Context } from "./context.ts";
import { failedResult, type Result, resultLine } from "./report.ts";
import { createAnswerText } from "./terminal/answer-text.ts";
import { isColoured } from "./terminal/colour.ts";
import { createSpinner } from "./terminal/spinner.ts";

/** How a request ended; `failure` is absent if the whole answer arrived. */
export interface Outcome {
  readonly result: Result;
  readonly failure?: Failure;
}

/**
 * Waits for the one request of a command, and prints its result line with --json. Returns the exit code;
 * throws the failure of a request that failed.
 */
export async function reportOutcome(
  asking: Promise<Outcome>,
  id: string,
  { host, flags, signal, redactor }: Context,
): Promise<number> {
  const { result, failure } = await asking.catch((thrown: unknown): Outcome => {
    const caught = asFailure(signal.aborted ? signal.reason : thrown);
    return { result: { ...failedResult(caught), id }, failure: caught };
  });
  if (flags.has("json")) await host.stdout.write(resultLine(result, redactor));
  if (failure !== undefined) throw failure;
  return 0;
}

/** What a command asks by itself. Every agent can answer it. */
export const DEFAULT_QUESTION = "How is this device doing?";

/** Milliseconds of silence after which a started answer counts as cut off. */
export const NEXT_PART_MS = 30_000;

/** Prints the parts of an answer as they arrive. */
export interface AnswerPrinter {
  part(part: AnswerPart): Promise<void>;
  /** Called after the last part. */
  end(): Promise<void>;
}

export interface AskOptions {
  readonly requester: Pick<Requester, "request">;
  readonly question: RequestOptions;
  readonly printer: AnswerPrinter;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
}

/** Sends one request and prints the answer as it arrives. Does not reject: failures are in the outcome. */
export async function ask({ requester, question, printer, now }: AskOptions): Promise<Outcome> {
  const answer: Answer = { text: "" };
  const begun = now();
  let failure: Failure | undefined;
  try {
    for await (const part of requester.request(question)) {
      addPart(answer, part, now() - begun);
      await printer.part(part);
    }
    // After the last part a signal does not matter any more.
    if (answer.last?.done !== true) question.signal.throwIfAborted();
    failure = failureIn(answer);
  } catch (thrown) {
    failure = asFailure(question.signal.aborted ? question.signal.reason : thrown);
  }
  await printer.end();
  return outcomeOf(question, answer, failure);
}

interface Answer {
  /** Without the sentence of an error. */
  text: string;
  last?: AnswerPart;
  msFirst?: number;
  msLast?: number;
}

function addPart(answer: Answer, part: AnswerPart, elapsed: number): void {
  const text = part.error === undefined ? part.text : "";
  answer.text = part.restart ? text : answer.text + text;
  answer.last = part;
  answer.msFirst ??= Math.round(elapsed);
  answer.msLast = Math.round(elapsed);
}

/** The failure of an answer that is an error, or of no answer. */
function failureIn({ last }: Answer): Failure | undefined {
  if (last === undefined) return new Failure("no_answer", "no answer came");
  if (last.error === undefined) return undefined;
  const { code, retryAfter } = last.error;
  const message = last.text.trim() === "" ? "the agent answered with an error" : last.text;
  return new Failure("failed", message, {
    why: `the agent answered with the error "${code}"`,
    retryAfter,
    remedy: retryAfter === undefined ? undefined : `ask again in ${retryAfter} s`,
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
  // The error code of the answer says more than `failed`.
  const outcome =
    failure.code === "failed" ? (last?.error?.code ?? failed.outcome) : failed.outcome;
  return { result: { ...failed, outcome, ...facts }, failure };
}

export interface ChannelQuestion {
  readonly channel: MqttChannel;
  readonly connectTimeoutMs: number;
  readonly question: Pick<RequestOptions, "client" | "text" | "id" | "extras">;
  readonly form: OutputFormat;
  /** Whose answer is waited for, as people read it. */
  readonly model: string;
}

/** Asks the agent of a channel once, over a new connection. Throws a `Failure` without a connection. */
export async function askChannel(
  { channel, connectTimeoutMs, question, form, model }: ChannelQuestion,
  { host, flags, signal }: Context,
): Promise<Outcome> {
  const { openRequester } = await import("../mqtt/requester/requester.ts");
  const requester = await openRequester({ channel, connectTimeoutMs, log: SILENT, signal });
  const { stdout, stderr, isShown, start, stop } = createSpinner(host, flags);
  const canErase = isColoured(host.stdout, host.env, flags);
  const firstPartMs = flags.duration("timeout");
  try {
    start(model);
    return await ask({
      requester,
      question: { ...question, signal, firstPartMs, nextPartMs: NEXT_PART_MS },
      printer: createAnswerPrinter(form, { stdout, stderr, isWaitShown: isShown, canErase }),
      now: () => performance.now(),
    });
  } finally {
    await stop();
    await requester.close();
  }
}

export interface AnswerStreams {
  readonly stdout: Output;
  readonly stderr: Output;
  /** Whether a line on stderr says that the answer is waited for. */
  readonly isWaitShown?: boolean;
  /** Whether what was printed on stdout may be erased. */
  readonly canErase?: boolean;
}

/** Prints answers in the given format. */
export function createAnswerPrinter(form: OutputFormat, streams: AnswerStreams): AnswerPrinter {
  if (form === "json") return jsonPrinter(streams.stdout);
  return form === "raw" ? rawPrinter(streams.stdout) : textPrinter(streams);
}

/**
 * Prints the text as it arrives, and a newline at the end. The sentence of an error is not printed here. The
 * second empty part is noted on stderr, once.
 */
function textPrinter({ stdout, stderr, isWaitShown, canErase }: AnswerStreams): AnswerPrinter {
  const answer = createAnswerText(stdout, canErase);
  let empty = 0;
  return {
    async part({ text, restart, done, error }) {
      if (restart && (await answer.end())) {
        await stderr.write("note: the answer starts again; ignore the text above\n");
      }
      if (error !== undefined) return;
      if (text !== "") return await answer.write(text);
      if (!done) empty += 1;
      if (!done && empty === 2 && !isWaitShown) {
        await stderr.write("note: the agent is still working\n");
      }
    },
    async end() {
      await answer.end();
    },
  };
}

function rawPrinter(stdout: Output): AnswerPrinter {
  return {
    part: ({ payload }) => writeRaw(stdout, payload),
    end: () => Promise.resolve(),
  };
}

/** Writes one payload unchanged, and a newline, in one write. */
export function writeRaw(stdout: Output, payload: Uint8Array): Promise<void> {
  if (stdout.isTTY)
    return stdout.write(`${escapeControl(new TextDecoder().decode(payload), "\n\t")}\n`);
  return stdout.write(Buffer.concat([payload, Buffer.from("\n")]));
}

function jsonPrinter(stdout: Output): AnswerPrinter {
  return {
    part: (part) => stdout.write(jsonLine(partJson(part))),
    end: () => Promise.resolve(),
  };
}

function partJson({ text, seq, restart, done, error }: AnswerPart): object {
  return {
    v: 1,
    type: "part",
    text,
    seq,
    restart,
    done,
    error: error && { code: error.code, retry_after: error.retryAfter },
  };
}

/** Returns the client id if it can be the client level of a topic; throws a usage `Failure` otherwise. */
export function checkedClientId(word: string): string {
  if (isDeviceClient(word)) return word;
  throw new Failure("usage", `"${word}" is not a client id`, {
    why: "it is one level of a topic: no / + # and control characters, not blank, and not . or ..",
  });
}
