import { matchesPattern } from "../base/client-pattern.ts";
import { escapeControl, jsonLine } from "../base/escape-control.ts";
import { asFailure, Failure } from "../base/failure.ts";
import type { MqttChannel } from "../config/contract.ts";
import type { Requester, RequestOptions } from "../mqtt/contract.ts";
import { outputFormat } from "./args/flags.ts";
import { ask, checkedClientId, NEXT_PART_MS, type Outcome } from "./ask.ts";
import { type Context, createCommandLog } from "./context.ts";
import { findAgents } from "./find-agents.ts";
import { failedResult, resultFields, wrapFor } from "./report.ts";
import { answerOptions, checkedSource, readRequest, stopTurn } from "./request.ts";
import { createPaint, isColoured } from "./terminal/colour.ts";

/** Requests that wait for their answers at the same time. */
const AT_ONCE = 16;
const MOST = 10_000;

/** One conversation that is asked. */
type Target = Pick<RequestOptions, "client" | "agent">;

type Question = Pick<RequestOptions, "text" | "id" | "extras" | "stream" | "firstPartMs">;

/**
 * Sends one request to several conversations over one connection: to those of clients that a pattern or a list names,
 * or, as one client, to several agents. Prints each answer when it is whole.
 */
export async function sendToSeveral(context: Context, id: string): Promise<Outcome> {
  const { flags, signal } = context;
  if (outputFormat(flags) === "raw") throw new Failure("usage", "--raw is for one client");
  const source = checkedSource(context);
  const log = await createCommandLog(context);
  const { channel, text, extras } = await readRequest(context, log, source);
  const agents = flags.text("agents");
  const [client = ""] = context.words;
  const clients =
    agents === undefined ? await namedClients(client, channel, context) : [checkedClientId(client)];
  const { openRequester } = await import("../mqtt/requester/requester.ts");
  const connectTimeoutMs = flags.duration("connect-timeout");
  const requester = await openRequester({ channel, connectTimeoutMs, log, signal });
  try {
    const names = agents === undefined ? [undefined] : await namedAgents(agents, requester, signal);
    const targets = names.flatMap((agent) => clients.map((name) => ({ agent, client: name })));
    const question = { text, id, ...answerOptions(flags), ...(extras && { extras }) };
    return flags.has("no-wait")
      ? await publishAll(targets, question, requester, context)
      : await askAll(targets, question, requester, context);
  } finally {
    await requester.close();
  }
}

/** The clients of a list, or those with a stored conversation that a pattern matches. */
async function namedClients(
  word: string,
  channel: MqttChannel,
  context: Context,
): Promise<readonly string[]> {
  return await namesIn(word, "client", async () => {
    const { openConversationReader } = await import("./state/conversation-reader.ts");
    const { loadStateConfig } = await import("./state/state-config.ts");
    const log = await createCommandLog(context);
    const config = await loadStateConfig(context, { log, readsStore: true });
    const reader = await openConversationReader(config, { readOnly: true });
    try {
      const found = await reader.conversations();
      return found.filter((one) => one.channel === channel.name).map(({ client }) => client);
    } finally {
      await reader.close();
    }
  });
}

async function namedAgents(
  word: string,
  requester: Requester,
  signal: AbortSignal,
): Promise<readonly string[]> {
  return await namesIn(word, "agent", async () =>
    (await findAgents(requester, { signal })).map(({ agent }) => agent),
  );
}

/** Each name of the list once; those with `*` stand for the known names that they match. */
async function namesIn(
  word: string,
  what: "client" | "agent",
  known: () => Promise<readonly string[]>,
): Promise<readonly string[]> {
  const entries = word.split(",").map((entry) => entry.trim());
  const patterns = entries.filter((entry) => entry.includes("*"));
  const exact = entries.filter((entry) => entry !== "" && !entry.includes("*"));
  if (what === "client") exact.forEach(checkedClientId);
  const all = patterns.length === 0 ? [] : await known();
  const matched = all.filter((name) => patterns.some((pattern) => matchesPattern(pattern, name)));
  const names = [...new Set([...exact, ...matched.toSorted()])];
  if (names.length > MOST) throw new Failure("usage", `more than ${MOST} ${what}s`);
  if (names.length > 0) return names;
  throw new Failure("usage", `no ${what} matches "${word}"`, {
    why:
      what === "client"
        ? "a pattern finds the clients of the conversations that this home has (picoclaw sessions list)"
        : "a pattern finds the agents whose status or info the broker has (picoclaw agents)",
    remedy: `name the ${what}s: a,b,c`,
  });
}

/** Runs the work for all targets, a bounded number at once. */
async function forEach(
  targets: readonly Target[],
  work: (target: Target) => Promise<void>,
): Promise<void> {
  const rest = targets.values();
  const worker = async (): Promise<void> => {
    for (const target of rest) await work(target);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** A target that fails keeps no other from its message. */
async function publishAll(
  targets: readonly Target[],
  question: Question,
  requester: Requester,
  { signal }: Context,
): Promise<Outcome> {
  const failures = new Map<Target, Failure>();
  await forEach(targets, async (target) => {
    signal.throwIfAborted();
    await requester
      .publishRequest({ ...question, ...target, signal })
      .catch((thrown: unknown) => failures.set(target, refusalIn(thrown)));
  });
  signal.throwIfAborted();
  const facts = { id: question.id, asked: targets.length };
  const [first] = failures.values();
  if (first === undefined) return { result: { outcome: "ok", exit: 0, ...facts } };
  const unsent = targets.filter((target) => failures.has(target)).map(labelOf);
  const { code, message, remedy } = first;
  const some = new Failure(code, `sent to ${targets.length - unsent.length} of ${targets.length}`, {
    why: `${namesOf("not sent to", unsent)}\n${message}`,
    remedy,
  });
  // What is wrong with all of them is best said as for one.
  const failure = unsent.length < targets.length ? some : first;
  return { result: { ...failedResult(failure), ...facts, unsent }, failure };
}

/** Throws what concerns the connection, and so all targets. */
function refusalIn(thrown: unknown): Failure {
  const failure = asFailure(thrown);
  if (failure.code === "unserved" || failure.code === "refused") return failure;
  throw thrown;
}

async function askAll(
  targets: readonly Target[],
  question: Question,
  requester: Requester,
  context: Context,
): Promise<Outcome> {
  const { host, signal } = context;
  const print = createPrinter(context);
  // The texts are printed and not kept.
  const ends = new Map<Target, End>();
  const running = new Set<Target>();
  await forEach(targets, async (target) => {
    if (signal.aborted) return;
    running.add(target);
    const asked = { ...question, ...target, nextPartMs: NEXT_PART_MS, signal };
    const outcome = await ask({ requester, question: asked, printer: SILENT, now: clock });
    if (signal.aborted) return;
    running.delete(target);
    ends.set(target, endOf(outcome));
    await print(target, outcome);
  });
  if (!host.stdout.closed.aborted) {
    await Promise.all([...running].map((one) => stopTurn(requester, one.client, one.agent)));
  }
  return summaryOf(targets, ends, { id: question.id, signal });
}

/** Answers are printed when they are whole, so that they do not mix. */
const SILENT = { part: () => Promise.resolve(), end: () => Promise.resolve() };
const clock = (): number => performance.now();

function labelOf({ client, agent }: Target): string {
  return agent ?? client;
}

type End = "answered" | "failed" | "unanswered";

function endOf({ failure }: Outcome): End {
  if (failure === undefined) return "answered";
  return failure.code === "failed" ? "failed" : "unanswered";
}

function summaryOf(
  targets: readonly Target[],
  ends: ReadonlyMap<Target, End>,
  { id, signal }: { readonly id: string; readonly signal: AbortSignal },
): Outcome {
  const labels = (end: End) =>
    targets.filter((one) => (ends.get(one) ?? "unanswered") === end).map(labelOf);
  const answered = labels("answered");
  const failed = labels("failed");
  const unanswered = labels("unanswered");
  const counts = { asked: targets.length, answered: answered.length };
  const facts = { id, ...counts, failed, unanswered };
  if (counts.answered === counts.asked) return { result: { outcome: "ok", exit: 0, ...facts } };
  const failure = signal.aborted ? asFailure(signal.reason) : notAll(counts, failed, unanswered);
  return { result: { ...failedResult(failure), ...facts }, failure };
}

function notAll(
  { answered, asked }: { readonly answered: number; readonly asked: number },
  failed: readonly string[],
  unanswered: readonly string[],
): Failure {
  const why = [namesOf("an error from", failed), namesOf("no answer from", unanswered)];
  return new Failure(
    failed.length > 0 ? "failed" : "no_answer",
    `${answered} of ${asked} answered`,
    {
      why: why.filter(Boolean).join("\n"),
    },
  );
}

function namesOf(what: string, names: readonly string[]): string {
  return names.length === 0 ? "" : `${what}: ${names.join(", ")}`;
}

/** Prints one whole answer: JSON, a line with tabs for a pipe, or lines for a terminal. Errors go to stderr as text. */
function createPrinter({ host, flags, redactor }: Context) {
  const { stdout, stderr } = host;
  const { bold } = createPaint(isColoured(stdout, host.env, flags));
  return async (target: Target, { result, failure }: Outcome): Promise<void> => {
    const label = escapeControl(labelOf(target));
    if (flags.has("json")) {
      const fields = { ...resultFields(result, redactor), agent: target.agent };
      return await stdout.write(jsonLine({ v: 1, type: "answer", ...fields }));
    }
    if (failure !== undefined) {
      const message = escapeControl(redactor.redact(failure.message));
      return await stderr.write(`note: ${label}: ${message}\n`);
    }
    const text = result.text ?? "";
    const wrap = await wrapFor(stdout);
    const line = wrap
      ? `${bold(label)}\n  ${wrap(escapeControl(text.trimEnd(), "\n\t"), 2)}\n`
      : `${label.replaceAll("\\", "\\\\")}\t${escapeControl(text.replaceAll("\\", "\\\\"))}\n`;
    await stdout.write(line);
  };
}
