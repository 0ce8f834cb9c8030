import type { Message } from "../../agent/contract.ts";
import type { Redactor } from "../../base/redaction/redactor.ts";
import type { Config } from "../../config/contract.ts";
import type {
  ConversationInfo,
  ConversationStore,
  StoredTurn,
} from "../../store/contract/conversations.ts";
import { databaseFilesIn } from "../../store/home/instance-files.ts";
import { openConversations } from "../../store/sqlite/shared-access.ts";
import { clientOfLane, type ConversationClient, storeOptions } from "./conversations.ts";
import { stateFolderOf } from "./state-folder.ts";

/** A conversation in one of the databases of this home. */
export type StoredConversation = ConversationInfo & ConversationClient;

/** Reads and deletes the conversations in all databases of a home, or in the one that gateways share. */
export interface ConversationReader {
  /** Last used first. */
  readonly conversations: () => Promise<readonly StoredConversation[]>;
  /** Every turn, in order of time. */
  readonly transcript: (lane: string) => AsyncGenerator<StoredTurn<Message>, void, undefined>;
  /** Deletes a conversation for good; returns its number of turns. */
  readonly erase: (lane: string) => Promise<number>;
  readonly close: () => Promise<void>;
}

/** Locks nothing; read-only, it also changes nothing. Throws a `Failure`. */
export async function openConversationReader(
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
      const { openSharedConversations } = await import("./shared-state.ts");
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

/** The turn with secrets masked; a turn stored long ago may contain some. */
export function redactedTurn(
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
