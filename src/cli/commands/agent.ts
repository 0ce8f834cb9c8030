import { openAgent } from "../../agent/agent.ts";
import type { Answerer, Message, Turned } from "../../agent/contract.ts";
import { startDeadline } from "../../base/async.ts";
import type { RequestExtras } from "../../base/contract.ts";
import { escapeControl } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import type { Output } from "../../base/host.ts";
import type { Log } from "../../base/log.ts";
import type { Config } from "../../config/contract.ts";
import { readFormat } from "../answer-format.ts";
import { isColoured } from "../colour.ts";
import { loadOrThrow } from "../connection.ts";
import { type Context, createCommandLog } from "../context.ts";
import { MAX_IMAGE_BYTES, readImages, requestExtras } from "../image-files.ts";
import { messageSource, readMessage } from "../message.ts";
import { openPrompt } from "../prompt.ts";
import { reportOf } from "../report.ts";
import { learnedIn } from "../state-folder.ts";
import { createTopics } from "../topics.ts";

/** The default session; the Go program uses the same name. */
const DEFAULT_SESSION = "cli:default";
/** How long a summary may take after a single answer; if it takes longer, a later conversation makes it. */
const LAST_SUMMARY_MS = 5000;
/** For connections of the agent's MQTT tool. */
const CONNECT_TIMEOUT_MS = 5_000;
/** Bytes of a question from a pipe. */
const LONGEST_MESSAGE = 1_048_576;

/** `picoclaw agent`: one question with -m or a pipe, a conversation on a terminal. */
export async function run(context: Context): Promise<number> {
  const { host, flags, signal, redactor } = context;
  const message = flags.text("message");
  const conversational = message === undefined && host.stdin.isTTY;
  const words = message === undefined ? [] : [message];
  const source = conversational ? undefined : messageSource({ words, file: undefined }, host);
  const format = await readFormat(context);
  if (conversational && flags.texts("image").length > 0) throw imageWithoutQuestion();
  const images = await readImages(context, { text: "", maxBytes: MAX_IMAGE_BYTES });
  const log = await createCommandLog(context);
  const { config, home, file, secretFiles, refusal } = await loadOrThrow(context, log, {});
  if (refusal !== undefined) throw refusal;
  const client = flags.text("session") ?? DEFAULT_SESSION;
  const channels = (): typeof config.channels => config.channels;
  const topics = createTopics({ channels, connectTimeoutMs: CONNECT_TIMEOUT_MS, log });
  const shared = await sharedMemory(config, log);
  const agent = await openAgent({
    cluster: shared?.cluster,
    config,
    log,
    home,
    configFile: file,
    secretFiles,
    topics,
    redactor,
    learned: learnedIn(config),
  });
  const { openChatHistory } = await import("../chat-history.ts");
  const session = await openChatHistory(client, { config, log, compact: agent.compact });
  const conversation: Chat = {
    answerer: agent.answer,
    client,
    extras: requestExtras(format, images),
    history: session.history,
    append: session.append,
    timeoutMs: config.agents.defaults.turn_timeout_secs * 1000,
    stdout: host.stdout,
    signal,
  };
  try {
    if (source === undefined) await runChat(conversation, context);
    else {
      const text = await readMessage(source, host, { maxBytes: LONGEST_MESSAGE, signal });
      await answerMessage(conversation, text);
    }
  } finally {
    // In a conversation summaries are made in the background; a single question waits for its summary.
    const summaryLimit = AbortSignal.any([signal, AbortSignal.timeout(LAST_SUMMARY_MS)]);
    await session.close(conversational ? undefined : summaryLimit);
    await agent.close();
    await shared?.close();
  }
  return 0;
}

async function sharedMemory(config: Config, log: Log) {
  const { store } = config.gateway;
  if (store === undefined) return undefined;
  const { openSharedMemory } = await import("../shared-state.ts");
  return openSharedMemory(store, config, log);
}

function imageWithoutQuestion(): Failure {
  return new Failure("usage", "--image needs a question", { remedy: "add -m and the question" });
}

/** Runs until exit, quit or the end of input. Reports a failed answer and continues. */
async function runChat(conversation: Chat, context: Context): Promise<void> {
  const { host, flags, signal, redactor } = context;
  const prompt = openPrompt(host, signal);
  const coloured = isColoured(host.stderr, host.env, flags);
  for (;;) {
    const line = await prompt.next();
    if (line === undefined || /^\s*(?:exit|quit)\s*$/i.test(line)) return;
    if (line.trim() === "") continue;
    try {
      await answerMessage(conversation, line);
    } catch (thrown) {
      if (!(thrown instanceof Failure) || signal.aborted) throw thrown;
      await host.stderr.write(reportOf(thrown, { coloured, debug: flags.has("debug"), redactor }));
    }
  }
}

interface Chat {
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
  readonly signal: AbortSignal;
}

/**
 * Prints the answer to one message as it arrives and stores the turn. Throws the answerer's `Failure`,
 * `no_answer` or `cut_off` when the time is over, and the signal's reason.
 */
export async function answerMessage(conversation: Chat, text: string): Promise<void> {
  const { answerer, client, extras, history, stdout, signal } = conversation;
  let code: "no_answer" | "cut_off" = "no_answer";
  const deadline = startDeadline(conversation.timeoutMs, {
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
