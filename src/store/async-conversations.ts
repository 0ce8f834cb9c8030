import type {
  ImportedConversation,
  Conversation,
  ConversationStore,
  ConversationInfo,
  StoredTurn,
} from "./contract.ts";

/** The conversations of a store, as work that takes no time; `M` is plain data. */
export interface SyncConversations<M> {
  readonly history: (lane: string) => readonly M[];
  readonly conversation: (lane: string) => Conversation<M>;
  readonly append: (lane: string, messages: readonly M[], forgets?: boolean) => void;
  readonly compact: (lane: string, through: number, summary?: M) => boolean;
  readonly importConversation: (lane: string, said: ImportedConversation<M>) => boolean;
  readonly conversations: () => readonly ConversationInfo[];
  /** The turns after one of them, as many as are worth one reading; none at the end. */
  readonly page: (lane: string, after: number) => readonly StoredTurn<M>[];
  readonly erase: (lane: string) => number;
  readonly purge: () => void;
}

type Run = <T>(work: () => T) => Promise<T>;

/** Turns as promises; `run` does a piece of work in a transaction of the store, `read` need not. */
export function asyncConversations<M>(
  turns: SyncConversations<M>,
  run: Run,
  read: Run = run,
): Omit<ConversationStore<M>, "close"> {
  return {
    history: (lane) => read(() => turns.history(lane)),
    conversation: (lane) => read(() => turns.conversation(lane)),
    append: (lane, messages, forgets) => run(() => turns.append(lane, messages, forgets)),
    compact: (lane, through, summary) => run(() => turns.compact(lane, through, summary)),
    importConversation: (lane, said) => run(() => turns.importConversation(lane, said)),
    conversations: () => read(() => turns.conversations()),
    transcript: (lane) => createTranscript((after) => read(() => turns.page(lane, after))),
    erase: (lane) => run(() => turns.erase(lane)),
    purge: () => run(() => turns.purge()),
  };
}

/** All turns of a conversation, page by page; a page is what follows the turn of that id. */
async function* createTranscript<M>(
  page: (after: number) => Promise<readonly StoredTurn<M>[]>,
): AsyncGenerator<StoredTurn<M>, void, undefined> {
  for (let after = 0; ;) {
    const turns = await page(after);
    const last = turns.at(-1);
    if (last === undefined) return;
    yield* turns;
    after = last.id;
  }
}
