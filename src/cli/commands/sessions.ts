import { jsonLine } from "../../base/escape-control.ts";
import { escapeControl } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import type { Host } from "../../base/host.ts";
import { suggestWord } from "../../base/spelling.ts";
import { createPaint, isColoured } from "../colour.ts";
import { loadOrThrow } from "../connection.ts";
import type { Context } from "../context.ts";
import { createCommandLog } from "../context.ts";
import type { ConversationReader, StoredConversation } from "../conversation-reader.ts";
import { openConversationReader } from "../conversation-reader.ts";
import {
  jsonTurn,
  markdownTitle,
  markdownTurn,
  type PrintTurn,
  readableTurn,
  timeOf,
  redactedTurn,
} from "../transcript.ts";

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
    for (const session of sessions) await stdout.write(jsonLine({ v: 1, ...factsOf(session) }));
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

function factsOf({
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
