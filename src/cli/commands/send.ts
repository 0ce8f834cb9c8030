import type { RequestExtras } from "../../base/contract.ts";
import { escapeControl } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import type { Requester } from "../../mqtt/contract.ts";
import { MAX_ID_LENGTH } from "../../mqtt/protocol/wire.ts";
import { readFormat } from "../answer-format.ts";
import { type OutputFormat, outputFormat } from "../args/flags.ts";
import {
  ask,
  checkedClientId,
  createAnswerPrinter,
  NEXT_PART_MS,
  type Outcome,
  reportOutcome,
} from "../ask.ts";
import { loadAgent } from "../connection.ts";
import { type Context, createCommandLog } from "../context.ts";
import { readImages, requestExtras } from "../image-files.ts";
import { type MessageSource, messageSource, readMessage } from "../message.ts";
import { isColoured } from "../terminal/colour.ts";
import { createSpinner, type Spinner } from "../terminal/spinner.ts";

/** `picoclaw send <client> [message…]`: sends one request as this client and prints the answer. */
export async function run(context: Context): Promise<number> {
  const id = context.flags.text("id") ?? crypto.randomUUID();
  return await reportOutcome(send(context, id), id, context);
}

async function send(context: Context, id: string): Promise<Outcome> {
  const { host, flags, signal, redactor } = context;
  const sending = { ...checkedQuestion(context), id };
  const format = await readFormat(context);
  const spinner = createSpinner(host, flags);
  const log = await createCommandLog(context, spinner.stderr);
  const { channel, model } = await loadAgent(context, log);
  const text = await readMessage(sending.source, host, {
    maxBytes: channel.settings.max_payload_bytes,
    setBy: `max_payload_bytes of channel ${channel.name}`,
    signal,
  });
  const limits = { text, maxBytes: channel.settings.max_payload_bytes };
  const extras = requestExtras(format, await readImages(context, limits));
  const { openRequester } = await import("../../mqtt/requester/requester.ts");
  spinner.start(escapeControl(redactor.redact(`connecting to ${channel.settings.broker.join()}`)));
  let requester: Requester | undefined;
  try {
    requester = await openRequester({
      channel,
      connectTimeoutMs: flags.duration("connect-timeout"),
      log,
      signal,
    });
    spinner.start(waitingFor(channel.settings.agent_id, model));
    return await exchange(requester, { ...sending, text, extras, spinner }, context);
  } finally {
    await spinner.stop();
    await requester?.close();
  }
}

function waitingFor(agent: string, model: string | undefined): string {
  return escapeControl(model === undefined ? agent : `${agent} · ${model}`);
}

interface CheckedQuestion {
  readonly client: string;
  readonly source: MessageSource;
  readonly form: OutputFormat;
}

/** Checks the arguments before anything is read or connected. */
function checkedQuestion({ host, words, flags }: Context): CheckedQuestion {
  const [client = "", ...message] = words;
  const checked = checkedClientId(client);
  const id = flags.text("id") ?? "";
  if (id.length > MAX_ID_LENGTH) {
    throw new Failure("usage", `--id is longer than ${MAX_ID_LENGTH} characters`);
  }
  const file = flags.text("file");
  // What stands alone and has blanks is more likely a message, for which a pipe would be read in vain.
  if (/\s/.test(client) && message.length === 0 && file === undefined) {
    throw new Failure("usage", `"${client}" would be the client, and there is no message`, {
      remedy: "write the client first; for a client of that name add the message, or - for a pipe",
    });
  }
  const source = messageSource({ words: message, file }, host);
  return { client: checked, source, form: outputFormat(flags) };
}

/** An answer in one piece comes at the end of the turn; the error of a silent model comes before this. */
const ONE_PIECE_MS = 600_000;

interface Sending extends Omit<CheckedQuestion, "source"> {
  readonly id: string;
  readonly text: string;
  readonly extras: RequestExtras | undefined;
  readonly spinner: Spinner;
}

async function exchange(
  requester: Requester,
  { client, text, id, form, extras, spinner }: Sending,
  { host, flags, signal }: Context,
): Promise<Outcome> {
  const isOnePiece = flags.has("no-stream");
  const question = {
    client,
    text,
    id,
    signal,
    firstPartMs: flags.duration("timeout", isOnePiece ? ONE_PIECE_MS : undefined),
    ...(isOnePiece ? { stream: false } : {}),
    ...(extras && { extras }),
  };
  if (flags.has("no-wait")) {
    await requester.publishRequest(question);
    return { result: { outcome: "ok", exit: 0, id, client } };
  }
  const { stdout, stderr, isShown } = spinner;
  const canErase = isColoured(host.stdout, host.env, flags);
  const outcome = await ask({
    requester,
    question: { ...question, nextPartMs: NEXT_PART_MS },
    printer: createAnswerPrinter(form, { stdout, stderr, isWaitShown: isShown, canErase }),
    now: () => performance.now(),
  });
  const { failure } = outcome;
  if (failure?.code === "interrupted" && !host.stdout.closed.aborted) {
    await spinner.stop();
    const isStopped = await stopTurn(requester, client);
    await host.stderr.write(isStopped ? STOPPED : NOT_STOPPED);
  }
  return outcome;
}

const STOPPED = "note: the answer was stopped (/stop)\n";
const NOT_STOPPED = "note: the answer could not be stopped; the agent goes on\n";
/** How long the broker may take to accept `/stop`. */
const STOP_MS = 3000;

/** Asks the agent to cancel what the client asked. Returns false if the broker did not take it; does not reject. */
export async function stopTurn(
  requester: Pick<Requester, "publishRequest">,
  client: string,
): Promise<boolean> {
  const stop = { client, text: "/stop", id: crypto.randomUUID(), firstPartMs: STOP_MS };
  const { signal } = new AbortController();
  return await requester.publishRequest({ ...stop, signal }).then(
    () => true,
    () => false,
  );
}
