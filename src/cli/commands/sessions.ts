import type { Message } from "../../agent/contract.ts";
import { escapeControl, jsonLine } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import type { Host } from "../../base/host.ts";
import { suggestWord } from "../../base/spelling.ts";
import type { StoredTurn } from "../../store/contract/conversations.ts";
import { type Context, createCommandLog } from "../context.ts";
import {
  type ConversationReader,
  openConversationReader,
  redactedTurn,
  type StoredConversation,
} from "../state/conversation-reader.ts";
import { loadStateConfig } from "../state/state-config.ts";
import { createPaint, isColoured, type Paint } from "../terminal/colour.ts";
import { listing } from "../terminal/table.ts";

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
  const config = await loadStateConfig(context, { log, readsStore: true });
  const reader = await openConversationReader(config, { readOnly: what !== "delete" });
  try {
    const channel = flags.text("channel");
    const sessions = (await reader.conversations()).filter(
      (session) => channel === undefined || session.channel === channel,
    );
    if (client === undefined) await list(sessions, context);
    else if (what === "delete")
      await deleteConversation(chooseConversation(sessions, client), reader, context);
    else await print(chooseConversation(sessions, client), reader, context);
  } finally {
    await reader.close();
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
  await stdout.write(listing(stdout, HEAD, rows));
}

const HEAD = ["client", "channel", "turns", "last used", "bytes"];

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
  reader: ConversationReader,
  context: Context,
): Promise<void> {
  const { host, words, flags, signal, redactor } = context;
  const { stdout } = host;
  const isMarkdown = words[0] === "export" && !flags.has("json");
  if (isMarkdown) await stdout.write(markdownTitle(session.client, session.channel));
  const printed = printerOf(session, context, isMarkdown);
  for await (const turn of reader.transcript(session.name)) {
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
  reader: ConversationReader,
  { host, flags }: Context,
): Promise<void> {
  const { client, channel, name } = session;
  const turns = await reader.erase(name);
  await host.stdout.write(
    flags.has("json")
      ? jsonLine({ v: 1, type: "deleted", client, channel, turns })
      : `deleted the conversation with ${escapeControl(client)} (${escapeControl(channel)}): ${turns} ${turns === 1 ? "turn" : "turns"}\n`,
  );
}
