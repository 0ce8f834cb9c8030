import type { Message } from "../../agent/contract.ts";
import { escapeControl } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import { SILENT } from "../../base/log.ts";
import type { Redactor } from "../../base/redaction/redactor.ts";
import type { LoadedConfig } from "../../config/contract.ts";
import type { Setting } from "../../config/settings.ts";
import type {
  PageAnswerPart,
  PageMessage,
  PageQuestion,
  PageSetting,
  PageSources,
  PageTranscript,
} from "../../gateway/page/contract.ts";
import { checkedClientId, NEXT_PART_MS } from "../ask.ts";
import { configFlagsOf, inspect, withConfigFile } from "../connection.ts";
import type { Context } from "../context.ts";
import type { Runtime } from "../runtime/runtime.ts";
import {
  type ConversationReader,
  openConversationReader,
  redactedTurn,
} from "../state/conversation-reader.ts";

/** The gateway that a page is of. */
export interface PageSubject {
  readonly context: Context;
  readonly runtime: Pick<Runtime, "dialled" | "status">;
  readonly loaded: LoadedConfig;
}

/** Messages of a conversation that a page shows. */
const MESSAGES = 400;

/** What the page of a running gateway shows. Secrets are masked in all of it. */
export function pageSources(options: PageSubject): PageSources {
  const { runtime, loaded, context } = options;
  const withReader = async <T>(use: (reader: ConversationReader) => Promise<T>): Promise<T> => {
    const reader = await openConversationReader(loaded.config, { readOnly: true });
    try {
      return await use(reader);
    } finally {
      await reader.close();
    }
  };
  return {
    status: () => runtime.status(),
    conversations: () => withReader((reader) => reader.conversations()),
    conversation: (name) => withReader((reader) => transcriptOf(name, reader, context.redactor)),
    ask: (question) => ask(question, options),
    checks: (signal) => checks(options, signal),
    settings: () => settings(options),
  };
}

async function transcriptOf(
  name: string,
  reader: ConversationReader,
  redactor: Pick<Redactor, "redact">,
): Promise<PageTranscript | undefined> {
  const found = (await reader.conversations()).find((each) => each.name === name);
  if (found === undefined) return undefined;
  let messages: PageMessage[] = [];
  for await (const turn of reader.transcript(name)) {
    messages.push(
      ...redactedTurn(turn, redactor).messages.flatMap((message) => messagesOf(message, turn.at)),
    );
    if (messages.length > 2 * MESSAGES) messages = messages.slice(-MESSAGES);
  }
  return { client: found.client, messages: messages.slice(-MESSAGES) };
}

function messagesOf(message: Message, at: number): readonly PageMessage[] {
  const { role, text } = message;
  if (role === "user") return [{ from: "client", text, at }];
  if (role === "summary") return [{ from: "summary", text }];
  if (role === "tool") return [{ from: "tool", tool: message.name, text }];
  const calls = (message.toolCalls ?? []).map(({ name, arguments: given }) => {
    return { from: "call", tool: name, text: given } as const;
  });
  return text === "" ? calls : [{ from: "agent", text }, ...calls];
}

/** Milliseconds until the first part of an answer, and of a connection. */
const FIRST_PART_MS = 120_000;
const CONNECT_MS = 10_000;

/** Asks as a device does: over a new connection to the broker. */
async function* ask(
  { client, channel: name, text, signal: asked }: PageQuestion,
  { runtime, context }: PageSubject,
): AsyncGenerator<PageAnswerPart, void, undefined> {
  const channel = runtime.dialled.find((each) => each.name === name);
  if (channel === undefined) throw new Failure("usage", `there is no channel "${name}"`);
  if (text.trim() === "") throw new Failure("usage", "there is no question");
  const { openRequester } = await import("../../mqtt/requester/requester.ts");
  const signal = AbortSignal.any([asked, context.signal]);
  const connection = { channel, connectTimeoutMs: CONNECT_MS, log: SILENT, signal };
  const question = { client: checkedClientId(client), text, id: crypto.randomUUID(), signal };
  const requester = await openRequester(connection);
  try {
    const times = { firstPartMs: FIRST_PART_MS, nextPartMs: NEXT_PART_MS };
    let isFirst = true;
    for await (const part of requester.request({ ...question, ...times })) {
      const error = part.error && (part.text || "the agent answered with an error");
      yield { text: part.text, restart: part.restart && !isFirst, error };
      isFirst = false;
    }
  } finally {
    await requester.close();
  }
}

/** What `doctor --offline` finds: opening a page makes no call of a model. */
async function checks(
  { context }: PageSubject,
  asked: AbortSignal,
): ReturnType<PageSources["checks"]> {
  const { examine } = await import("../doctor/doctor.ts");
  const { flags, redactor } = context;
  const signal = AbortSignal.any([asked, context.signal]);
  const has: typeof flags.has = (name) => name === "offline" || flags.has(name);
  const { found } = await examine({ ...context, signal, flags: { ...flags, has } }, async () => {});
  return found.map(({ result, name, message, remedy }) => ({
    result,
    message: redactor.redact(`${name}: ${message}`),
    remedy: remedy && redactor.redact(remedy),
  }));
}

/** The configuration as its files are now; a running gateway may not have read all of it. */
async function settings({ context }: PageSubject): Promise<readonly PageSetting[]> {
  const [{ settingsAt, placeNamed }, { locationOf }] = await Promise.all([
    import("../../config/settings.ts"),
    import("../../config/findings.ts"),
  ]);
  const { flags, redactor } = context;
  const found = await inspect(withConfigFile(context), configFlagsOf(flags));
  if (found instanceof Failure) throw found;
  const all = placeNamed("", found.tree);
  if (all instanceof Failure) throw all;
  return settingsAt(found.tree, all)
    .filter(({ value }) => value !== undefined)
    .toSorted((one, other) => Number(isDefault(one)) - Number(isDefault(other)))
    .map(({ key, value, origin }) => ({
      key,
      value: escapeControl(redactor.redact(JSON.stringify(value))),
      origin: locationOf(origin),
    }));
}

/** What somebody has set comes first. */
function isDefault({ origin }: Setting): boolean {
  return origin.from === "default";
}
