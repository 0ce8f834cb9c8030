import { join } from "node:path";
import type { Answerer, Message, Turned } from "../agent/contract.ts";
import { startDeadline } from "../base/async.ts";
import type { RequestExtras } from "../base/contract.ts";
import { escapeControl } from "../base/escape-control.ts";
import { Failure } from "../base/failure.ts";
import type { Output } from "../base/host.ts";
import { VERSION } from "../base/version.ts";
import type { Config } from "../config/contract.ts";
import type { Context } from "./context.ts";
import { reportOf, wrapFor } from "./report.ts";
import { stateFolderOf } from "./state/state-folder.ts";
import { createAnswerText } from "./terminal/answer-text.ts";
import { createPaint, isColoured } from "./terminal/colour.ts";
import { openInputHistory } from "./terminal/input-history.ts";
import { openPrompt } from "./terminal/prompt.ts";
import { modelName, type Spinner } from "./terminal/spinner.ts";
import { wrapped } from "./terminal/word-wrap.ts";

/** A conversation of the command `agent`. */
export interface Chat {
  readonly answerer: Answerer;
  readonly client: string;
  /** The form that all answers must have, and the images of a single question. */
  readonly extras?: RequestExtras | undefined;
  /** Reads the conversation so far, and appends a turn to it; neither rejects. */
  readonly history: () => Promise<readonly Message[]>;
  readonly append: (turned: Turned) => Promise<void>;
  /** How long one answer may take, from the question to its end. */
  readonly timeoutMs: number;
  readonly stdout: Output;
  /** Whether what was printed on stdout may be erased. */
  readonly canErase?: boolean;
  readonly signal: AbortSignal;
}

const KEYS =
  "In this chat: exit, quit or Ctrl-D ends it. Ctrl-C stops an answer, Ctrl-Z suspends the chat until fg. The up key brings back what was typed.";

/** Runs until exit, quit or the end of input. Reports a failed answer and continues; Ctrl-C ends only an answer. */
export async function runChat(
  chat: Chat,
  context: Context,
  { config, spinner }: { readonly config: Config; readonly spinner: Spinner },
): Promise<void> {
  const { host, flags, signal, redactor } = context;
  const { stderr } = host;
  const coloured = isColoured(stderr, host.env, flags);
  const wrap = await wrapFor(stderr);
  const typed = await openInputHistory(join(stateFolderOf(config), "input-history"));
  const prompt = openPrompt(host, signal, typed);
  await stderr.write(bannerOf(chat, config, { columns: stderr.columns, coloured }));
  for (;;) {
    const line = await prompt.next();
    if (line === undefined || /^\s*(?:exit|quit)\s*$/i.test(line)) return;
    if (line.trim() === "") continue;
    spinner.start(modelName(config));
    try {
      await interruptible(context, (stopped) =>
        answerMessage({ ...chat, signal: AbortSignal.any([signal, stopped]) }, line),
      );
    } catch (thrown) {
      if (!(thrown instanceof Failure) || signal.aborted) throw thrown;
      await spinner.stop();
      await stderr.write(
        thrown.code === "interrupted"
          ? "note: the answer was stopped\n"
          : reportOf(thrown, { coloured, debug: flags.has("debug"), redactor, wrap }),
      );
    } finally {
      await spinner.stop();
    }
    if (line.trim() === "/help") await stderr.write(`${wrapped(KEYS, stderr.columns)}\n`);
  }
}

/** Its signal is aborted at the next Ctrl-C, which then does not end the program. */
async function interruptible(
  { onNextInterrupt }: Pick<Context, "onNextInterrupt">,
  run: (stopped: AbortSignal) => Promise<void>,
): Promise<void> {
  const stop = new AbortController();
  const release = onNextInterrupt(() => stop.abort(new Failure("interrupted", "interrupted")));
  try {
    await run(stop.signal);
  } finally {
    release();
  }
}

function bannerOf(
  { client }: Chat,
  config: Config,
  { columns, coloured }: { readonly columns: number; readonly coloured: boolean },
): string {
  const { bold, dim } = createPaint(coloured);
  const facts = `picoclaw ${VERSION} · ${modelName(config)} · ${escapeControl(client)}`;
  const hint = "/help lists commands; exit or Ctrl-D ends the chat.";
  return `${bold(wrapped(facts, columns))}\n${dim(wrapped(hint, columns))}\n`;
}

/**
 * Prints the answer to one message as it arrives and stores the turn. Throws the answerer's `Failure`,
 * `no_answer` or `cut_off` when the time is over, and the signal's reason.
 */
export async function answerMessage(chat: Chat, text: string): Promise<void> {
  const { answerer, client, extras, history, stdout, signal, canErase } = chat;
  let code: "no_answer" | "cut_off" = "no_answer";
  const deadline = startDeadline(chat.timeoutMs, {
    parent: signal,
    reason: (milliseconds) =>
      new Failure(code, `the answer took longer than ${milliseconds / 1000} s`, {
        remedy: "raise agents.defaults.turn_timeout_secs",
      }),
  });
  const who = { client, isRemote: false, isAdmin: true };
  const turn = answerer({
    history,
    text,
    ...extras,
    ...who,
    signal: deadline.signal,
  });
  const answer = createAnswerText(stdout, canErase);
  try {
    for (;;) {
      const step = await turn.next();
      if (step.done) return await chat.append(step.value);
      code = "cut_off";
      await answer.write(step.value);
    }
  } catch (thrown) {
    throw deadline.signal.aborted ? deadline.signal.reason : thrown;
  } finally {
    deadline.close();
    await answer.end();
  }
}
