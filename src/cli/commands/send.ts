import type { RequestExtras } from "../../base/contract.ts";
import { escapeControl } from "../../base/escape-control.ts";
import type { Requester } from "../../mqtt/contract.ts";
import { type OutputFormat, outputFormat } from "../args/flags.ts";
import {
  ask,
  checkedClientId,
  createAnswerPrinter,
  NEXT_PART_MS,
  type Outcome,
  reportOutcome,
} from "../ask.ts";
import { type Context, createCommandLog } from "../context.ts";
import type { MessageSource } from "../message.ts";
import { answerOptions, checkedSource, readRequest, stopTurn } from "../request.ts";
import { isColoured } from "../terminal/colour.ts";
import { createSpinner, type Spinner } from "../terminal/spinner.ts";

/** `picoclaw send <client> [message…]`: sends one request as this client and prints the answer. */
export async function run(context: Context): Promise<number> {
  const id = context.flags.text("id") ?? crypto.randomUUID();
  return await reportOutcome(
    isForSeveral(context) ? sendToAll(context, id) : send(context, id),
    id,
    context,
  );
}

/** A pattern or a list of clients, or several agents. */
function isForSeveral({ words: [client = ""], flags }: Context): boolean {
  return /[*,]/.test(client) || flags.text("agents") !== undefined;
}

async function sendToAll(context: Context, id: string): Promise<Outcome> {
  const { sendToSeveral } = await import("../fleet.ts");
  return await sendToSeveral(context, id);
}

async function send(context: Context, id: string): Promise<Outcome> {
  const { host, flags, signal, redactor } = context;
  const sending = { ...checkedQuestion(context), id };
  const spinner = createSpinner(host, flags);
  const log = await createCommandLog(context, spinner.stderr);
  const { channel, model, text, extras } = await readRequest(context, log, sending.source);
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
function checkedQuestion(context: Context): CheckedQuestion {
  const [client = ""] = context.words;
  const checked = checkedClientId(client);
  return { client: checked, source: checkedSource(context), form: outputFormat(context.flags) };
}

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
  const question = {
    client,
    text,
    id,
    signal,
    ...answerOptions(flags),
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
