import type { Message } from "../../agent/contract.ts";
import { escapeControl, jsonLine } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import type { Host } from "../../base/host.ts";
import type { Redactor } from "../../base/redaction/redactor.ts";
import { suggestWord } from "../../base/spelling.ts";
import type { Config } from "../../config/contract.ts";
import type { ConversationStore, ConversationInfo, StoredTurn } from "../../store/contract.ts";
import { databaseFilesIn } from "../../store/instance-lock.ts";
import { openConversations } from "../../store/shared-access.ts";
import { createPaint, isColoured, type Paint } from "../colour.ts";
import { loadOrThrow } from "../connection.ts";
import { type Context, createCommandLog } from "../context.ts";
import { clientOfLane, type ConversationClient, storeOptions } from "../conversations.ts";
import { stateFolderOf } from "../state-folder.ts";

/** `picoclaw sessions list|show|export|delete [client]`. */
export async function run(context: Context): Promise<number> {
  const { words, flags } = context;
  const [what = "list", client] = words;
  if (what === "list" && client !== undefined) {
    throw new Failure("usage", `sessions list does not take "${client}"`);
  }
  if (what !== "list" && client === undefined) {
    throw new Failure("usage", `sessions ${what} needs <client>`);
  }
  const log = await createCommandLog(context);
  const { config } = await loadOrThrow(context, log, {});
  const archive = await openConversationReader(config, { readOnly: what !== "delete" });
  try {
    const channel = flags.text("channel");
    const sessions = (await archive.conversations()).filter(
      (session) => channel === undefined || session.channel === channel,
    );
    if (client === undefined) await list(sessions, context);
    else if (what === "delete")
      await deleteConversation(chooseConversation(sessions, client), archive, context);
    else await print(chooseConversation(sessions, client), archive, context);
  } finally {
    await archive.close();
  }
  return 0;
}

/** The conversation of that client; `cli:` may precede the name of a session of the agent command. */
function chooseConversation(
  sessions: readonly StoredConversation[],
  name: string,
): StoredConversation {
  const named = sessions.filter(({ client }) => client === name);
  const local = sessions.filter(
    ({ client, channel }) => channel === "cli" && `cli:${client}` === name,
  );
  const found = named.length > 0 ? named : local;
  const [session] = found;
  if (session === undefined) throw unknownConversation(sessions, name);
  const channels = [...new Set(found.map(({ channel }) => channel))];
  if (channels.length === 1) return session;
  throw new Failure("usage", `${name} has conversations in several channels`, {
    why: channels.join(", "),
    remedy: `--channel ${channels[0]}`,
  });
}

function unknownConversation(sessions: readonly StoredConversation[], name: string): Failure {
  const guess = suggestWord(
    name,
    sessions.map(({ client }) => client),
  );
  return new Failure("failed", `there is no conversation with ${name}`, {
    remedy: guess === undefined ? "picoclaw sessions list" : `picoclaw sessions show ${guess}`,
  });
}

async function list(
  sessions: readonly StoredConversation[],
  { host: { stdout }, flags }: Context,
): Promise<void> {
  if (flags.has("json")) {
    for (const session of sessions)
      await stdout.write(jsonLine({ v: 1, ...sessionFacts(session) }));
    return;
  }
  const rows = sessions.map(({ client, channel, turns, lastAt, bytes }) => [
    escapeControl(client),
    escapeControl(channel),
    `${turns}`,
    timeOf(lastAt),
    `${bytes}`,
  ]);
  await stdout.write(
    stdout.isTTY ? table(rows) : rows.map((row) => `${row.join("\t")}\n`).join(""),
  );
}

const HEAD = ["client", "channel", "turns", "last used", "bytes"];

function table(rows: readonly (readonly string[])[]): string {
  const all = [HEAD, ...rows];
  const widths = HEAD.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all
    .map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  "))
    .map((line) => `${line.trimEnd()}\n`)
    .join("");
}

function sessionFacts({
  client,
  channel,
  turns,
  messages,
  bytes,
  ...session
}: StoredConversation): object {
  const { firstAt, lastAt, summarized } = session;
  const times = { first_at: timeOf(firstAt), last_at: timeOf(lastAt) };
  return { type: "session", client, channel, turns, messages, bytes, ...times, summarized };
}

/** Prints turn by turn, as fast as the reader takes them; stops when the reader is gone. */
async function print(
  session: StoredConversation,
  archive: ConversationReader,
  context: Context,
): Promise<void> {
  const { host, words, flags, signal, redactor } = context;
  const { stdout } = host;
  const isMarkdown = words[0] === "export" && !flags.has("json");
  if (isMarkdown) await stdout.write(markdownTitle(session.client, session.channel));
  const printed = printerOf(session, context, isMarkdown);
  for await (const turn of archive.transcript(session.name)) {
    signal.throwIfAborted();
    if (stdout.closed.aborted) return;
    await stdout.write(safe(printed(redactedTurn(turn, redactor)), host, isMarkdown));
  }
}

function printerOf(
  { client }: StoredConversation,
  { host: { stdout, env }, flags }: Context,
  isMarkdown: boolean,
): PrintTurn {
  if (flags.has("json")) return jsonTurn();
  if (isMarkdown) return markdownTurn(client);
  return readableTurn(client, createPaint(isColoured(stdout, env, flags)));
}

/** Markdown holds messages unchanged, so on a terminal control characters are escaped. */
function safe(text: string, { stdout }: Host, isMarkdown: boolean): string {
  return isMarkdown && stdout.isTTY ? escapeControl(text, "\n\t") : text;
}

/** Formats one turn of a conversation. */
type PrintTurn = (turn: StoredTurn<Message>) => string;

/** The turn with secrets masked; a turn stored long ago may contain some. */
function redactedTurn(
  turn: StoredTurn<Message>,
  redactor: Pick<Redactor, "redact">,
): StoredTurn<Message> {
  return { ...turn, messages: turn.messages.map((message) => redactedMessage(message, redactor)) };
}

function redactedMessage(message: Message, redactor: Pick<Redactor, "redact">): Message {
  const text = redactor.redact(message.text);
  if (message.role === "tool") return { ...message, text, name: redactor.redact(message.name) };
  if (message.role !== "assistant" || message.toolCalls === undefined) return { ...message, text };
  const toolCalls = message.toolCalls.map((call) =>
    Object.assign({}, call, {
      name: redactor.redact(call.name),
      arguments: redactor.redact(call.arguments),
    }),
  );
  return { ...message, text, toolCalls };
}

/** For people: control characters are escaped, and no text can imitate a line of another speaker. */
function readableTurn(client: string, paint: Paint): PrintTurn {
  return ({ at, messages }) => {
    const lines = messages
      .flatMap((message) => statementsIn(message, client))
      .map(({ who, text }) => `${paint.bold(escapeControl(who))}: ${indented(text)}`);
    return `${paint.dim(timeOf(at))}\n${lines.join("\n")}\n\n`;
  };
}

/** One section per turn, messages as quotations. */
function markdownTurn(client: string): PrintTurn {
  return ({ at, messages }) => {
    const blocks = messages
      .flatMap((message) => statementsIn(message, client))
      .map(({ who, text }) => `**${escapedMarkdown(who)}:**\n\n${quoted(text)}\n`);
    return `## ${timeOf(at)}\n\n${blocks.join("\n")}\n`;
  };
}

function markdownTitle(client: string, channel: string): string {
  return `# Conversation with ${escapedMarkdown(client)} (${escapedMarkdown(channel)})\n\n`;
}

/** One line per message; `turn` is the same for the messages of one turn. */
function jsonTurn(): PrintTurn {
  return ({ id, at, messages }) =>
    messages
      .map((message) =>
        jsonLine({ v: 1, type: "message", turn: id, at: timeOf(at), ...messageFacts(message) }),
      )
      .join("");
}

function messageFacts(message: Message): object {
  const { role, text } = message;
  if (message.role === "tool") {
    return { role, call_id: message.callId, name: message.name, text };
  }
  if (message.role !== "assistant" || message.toolCalls === undefined) return { role, text };
  return { role, text, tool_calls: message.toolCalls };
}

/** ISO 8601 in UTC, as in the log and in `listen`. */
function timeOf(at: number): string {
  return new Date(at).toISOString();
}

interface Statement {
  readonly who: string;
  readonly text: string;
}

/** The statements of a message: by the client, by the agent, by the agent to a tool, or by a tool. */
function statementsIn(message: Message, client: string): readonly Statement[] {
  if (message.role === "summary") return [{ who: "summary", text: message.text }];
  if (message.role === "user") return [{ who: client, text: message.text }];
  if (message.role === "tool") return [{ who: `${message.name} to picoclaw`, text: message.text }];
  const calls = (message.toolCalls ?? []).map(({ name, arguments: text }) => ({
    who: `picoclaw to ${name}`,
    text,
  }));
  return message.text === "" ? calls : [{ who: "picoclaw", text: message.text }, ...calls];
}

function indented(text: string): string {
  return escapeControl(text, "\n\t").trimEnd().replaceAll("\n", "\n  ");
}

/** Marks each line, so that no text can end the quotation. */
function quoted(text: string): string {
  return text
    .split(/\r\n?|\n/)
    .map((line) => `> ${line}`)
    .join("\n");
}

function escapedMarkdown(text: string): string {
  return escapeControl(text).replaceAll(/[\\`*_[\]<>#]/g, "\\$&");
}

async function deleteConversation(
  session: StoredConversation,
  archive: ConversationReader,
  { host, flags }: Context,
): Promise<void> {
  const { client, channel, name } = session;
  const turns = await archive.erase(name);
  await host.stdout.write(
    flags.has("json")
      ? jsonLine({ v: 1, type: "deleted", client, channel, turns })
      : `deleted the conversation with ${escapeControl(client)} (${escapeControl(channel)}): ${turns} ${turns === 1 ? "turn" : "turns"}\n`,
  );
}

/** A conversation in one of the databases of this home. */
type StoredConversation = ConversationInfo & ConversationClient;

/** Reads and deletes the conversations in all databases of a home, or in the one that gateways share. */
interface ConversationReader {
  /** Last used first. */
  readonly conversations: () => Promise<readonly StoredConversation[]>;
  /** Every turn, in order of time. */
  readonly transcript: (lane: string) => AsyncGenerator<StoredTurn<Message>, void, undefined>;
  /** Deletes a conversation for good; returns its number of turns. */
  readonly erase: (lane: string) => Promise<number>;
  readonly close: () => Promise<void>;
}

/** Locks nothing; read-only, it also changes nothing. Throws a `Failure`. */
async function openConversationReader(
  config: Config,
  { readOnly }: { readonly readOnly: boolean },
): Promise<ConversationReader> {
  const stores: ConversationStore<Message>[] = [];
  const { store: shared } = config.gateway;
  const close = async (): Promise<void> => {
    await Promise.all(stores.map((store) => store.close()));
  };
  try {
    if (shared !== undefined) {
      const { openSharedConversations } = await import("../shared-state.ts");
      stores.push(await openSharedConversations(shared, config));
    }
    for (const file of shared === undefined ? databaseFilesIn(stateFolderOf(config)) : []) {
      stores.push(await openConversations(file, { ...storeOptions(config), readOnly }));
    }
  } catch (thrown) {
    await close();
    throw thrown;
  }
  return {
    async conversations() {
      const found = await Promise.all(stores.map((store) => store.conversations()));
      return mergeByLane(found.flat()).map((session) =>
        Object.assign({}, session, clientOfLane(session.name)),
      );
    },
    transcript: (lane) => mergeByTime(stores.map((store) => store.transcript(lane))),
    async erase(lane) {
      const turns = await Promise.all(stores.map((store) => store.erase(lane)));
      return turns.reduce((total, count) => total + count, 0);
    },
    close,
  };
}

/** Joins the entries of one lane in several databases. */
function mergeByLane(sessions: readonly ConversationInfo[]): readonly ConversationInfo[] {
  const byName = new Map<string, ConversationInfo>();
  for (const session of sessions) {
    const known = byName.get(session.name);
    byName.set(session.name, known === undefined ? session : addUp(known, session));
  }
  return [...byName.values()].toSorted((a, b) => b.lastAt - a.lastAt);
}

function addUp(left: ConversationInfo, right: ConversationInfo): ConversationInfo {
  return {
    name: left.name,
    turns: left.turns + right.turns,
    messages: left.messages + right.messages,
    bytes: left.bytes + right.bytes,
    firstAt: Math.min(left.firstAt, right.firstAt),
    lastAt: Math.max(left.lastAt, right.lastAt),
    summarized: left.summarized || right.summarized,
  };
}

/** Merges transcripts by time: yields the earliest of their next turns. */
async function* mergeByTime(
  transcripts: readonly AsyncIterable<StoredTurn<Message>>[],
): AsyncGenerator<StoredTurn<Message>, void, undefined> {
  const sources = transcripts.map((transcript) => transcript[Symbol.asyncIterator]());
  const heads = await Promise.all(sources.map((source) => source.next()));
  for (;;) {
    let [earliest, at] = [-1, Number.POSITIVE_INFINITY];
    for (const [index, head] of heads.entries()) {
      if (head.done !== true && head.value.at < at) [earliest, at] = [index, head.value.at];
    }
    const [head, source] = [heads[earliest], sources[earliest]];
    if (head === undefined || head.done === true || source === undefined) return;
    yield head.value;
    heads[earliest] = await source.next();
  }
}
