import { openAgent } from "../../agent/agent.ts";
import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { Config } from "../../config/contract.ts";
import { readFormat } from "../answer-format.ts";
import type { Chat } from "../chat.ts";
import { loadOrThrow } from "../connection.ts";
import { type Context, createCommandLog } from "../context.ts";
import { MAX_IMAGE_BYTES, readImages, requestExtras } from "../image-files.ts";
import { messageSource, readMessage } from "../message.ts";
import { createOtherAgents } from "../runtime/other-agents.ts";
import { createTopics } from "../runtime/topics.ts";
import { learnedIn, mcpDocumentsIn } from "../state/state-folder.ts";
import { isColoured } from "../terminal/colour.ts";
import { createSpinner, modelName } from "../terminal/spinner.ts";

/** The default session; the Go program uses the same name. */
const DEFAULT_SESSION = "cli:default";
/** How long a summary may take after a single answer; if it takes longer, a later conversation makes it. */
const LAST_SUMMARY_MS = 5000;
/** For connections of the tools mqtt and ask_agent. */
const CONNECT_TIMEOUT_MS = 5_000;
/** Bytes of a question from a pipe. */
const LONGEST_MESSAGE = 1_048_576;

/** `picoclaw agent [message…]`: one question with words, -m or a pipe, a conversation on a terminal. */
export async function run(context: Context): Promise<number> {
  const { host, flags, signal, redactor } = context;
  const words = wordsOf(context);
  const conversational = words.length === 0 && host.stdin.isTTY;
  const source = conversational ? undefined : messageSource({ words, file: undefined }, host);
  const format = await readFormat(context);
  if (conversational && flags.texts("image").length > 0) throw imageWithoutQuestion();
  const images = await readImages(context, { text: "", maxBytes: MAX_IMAGE_BYTES });
  const spinner = createSpinner(host, flags);
  const log = await createCommandLog(context, spinner.stderr);
  const { config, home, file, secretFiles, refusal } = await loadOrThrow(context, log, {});
  if (refusal !== undefined) throw refusal;
  const client = flags.text("session") ?? DEFAULT_SESSION;
  const shared = await sharedMemory(config, log);
  const agent = await openAgent({
    cluster: shared?.cluster,
    config,
    log,
    home,
    configFile: file,
    secretFiles,
    ...brokersOf(config, log),
    redactor,
    learned: learnedIn(config),
    mcpDocuments: mcpDocumentsIn(config),
  });
  const [{ openChatHistory }, { answerMessage, runChat }] = await Promise.all([
    import("../state/chat-history.ts"),
    import("../chat.ts"),
  ]);
  const session = await openChatHistory(client, { config, log, compact: agent.compact });
  const conversation: Chat = {
    answerer: agent.answer,
    client,
    extras: requestExtras(format, images),
    history: session.history,
    append: session.append,
    timeoutMs: config.agents.defaults.turn_timeout_secs * 1000,
    stdout: spinner.stdout,
    canErase: isColoured(host.stdout, host.env, flags),
    signal,
  };
  try {
    if (source === undefined) await runChat(conversation, context, { config, spinner });
    else {
      const text = await readMessage(source, host, { maxBytes: LONGEST_MESSAGE, signal });
      spinner.start(modelName(config));
      await answerMessage(conversation, text);
    }
  } finally {
    await spinner.stop();
    // In a conversation summaries are made in the background; a single question waits for its summary.
    const summaryLimit = AbortSignal.any([signal, AbortSignal.timeout(LAST_SUMMARY_MS)]);
    await session.close(conversational ? undefined : summaryLimit);
    await agent.close();
    await shared?.close();
  }
  return 0;
}

/** What the agent reaches at the brokers of the channels. */
function brokersOf({ channels }: Pick<Config, "channels">, log: Log) {
  const options = { channels: () => channels, connectTimeoutMs: CONNECT_TIMEOUT_MS, log };
  const topics = createTopics(options);
  return channels.length === 0 ? { topics } : { topics, agents: createOtherAgents(options) };
}

async function sharedMemory(config: Config, log: Log) {
  const { store } = config.gateway;
  if (store === undefined) return undefined;
  const { openSharedMemory } = await import("../state/shared-state.ts");
  return openSharedMemory(store, config, log);
}

/** The words of the question, with -m or without. */
function wordsOf({ words, flags }: Context): readonly string[] {
  const message = flags.text("message");
  if (message === undefined) return words;
  if (words.length === 0) return [message];
  throw new Failure("usage", "the question is given twice: as words and with -m", {
    remedy: "use only one of them",
  });
}

function imageWithoutQuestion(): Failure {
  return new Failure("usage", "--image needs a question", { remedy: "add the question" });
}
