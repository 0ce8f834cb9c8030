import type { Message } from "../agent/contract.ts";
import type { Config } from "../config/contract.ts";
import type { ConversationStore, ConversationInfo, StoredTurn } from "../store/contract.ts";
import { databaseFilesIn } from "../store/instance-lock.ts";
import { openConversations } from "../store/shared-access.ts";
import {
  type ConversationClient,
  clientOfLane,
  stateFolderOf,
  storeOptions,
} from "./conversations.ts";

/** A conversation in one of the databases of this home. */
export type StoredConversation = ConversationInfo & ConversationClient;

/** Reads and deletes the conversations in all databases of a home. */
export interface ConversationReader {
  /** Last used first. */
  readonly conversations: () => Promise<readonly StoredConversation[]>;
  /** Every turn, in order of time. */
  readonly transcript: (lane: string) => AsyncGenerator<StoredTurn<Message>, void, undefined>;
  /** Deletes a conversation for good; returns its number of turns. */
  readonly erase: (lane: string) => Promise<number>;
  readonly close: () => Promise<void>;
}

/** Locks nothing; read-only, it also changes nothing. Throws a `Failure` of code `config`. */
export async function openConversationReader(
  config: Config,
  { readOnly }: { readonly readOnly: boolean },
): Promise<ConversationReader> {
  const stores: ConversationStore<Message>[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(stores.map((store) => store.close()));
  };
  try {
    for (const file of databaseFilesIn(stateFolderOf(config))) {
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
