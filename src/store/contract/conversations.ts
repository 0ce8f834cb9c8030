/**
 * Conversations by name: lists of whole turns. A compaction hides the turns up to one of them; its
 * summary stands for them.
 */
export interface ConversationStore<M> {
  /** The summary of the last compaction and the latest whole turns after it, oldest message first, within the bounds. */
  history(name: string): Promise<readonly M[]>;
  /** The same with all turns after the compaction, oldest first, within `SUMMARY_LIMITS`. */
  conversation(name: string): Promise<Conversation<M>>;
  /** The size of the summary and all turns after it; reads no message. */
  size(name: string): Promise<ConversationSize>;
  /**
   * Adds a whole turn to a conversation, for a request that this store does not have. With `forgets`, the
   * conversation begins anew after that.
   */
  append(name: string, messages: readonly M[], forgets?: boolean): Promise<void>;
  /**
   * Hides the turns up to `through`; the summary stands for them. Returns false and does nothing if that
   * turn is hidden already or does not exist: another compaction was faster.
   */
  compact(name: string, through: number, summary?: M): Promise<boolean>;
  /**
   * Begins a conversation with a whole one from elsewhere. Returns false if the store has the conversation,
   * even if only that it was deleted.
   */
  importConversation(name: string, imported: ImportedConversation<M>): Promise<boolean>;
  /** Every conversation, the one used last first, at most `LISTED_CONVERSATIONS`. */
  conversations(): Promise<readonly ConversationInfo[]>;
  /** Every turn of a conversation, oldest first, hidden or not; a part of them is in memory at a time. */
  transcript(name: string): AsyncIterable<StoredTurn<M>>;
  /** Deletes a conversation for good; returns the number of its turns. */
  erase(name: string): Promise<number>;
  /** Deletes what is too old or over the limits; looks at most once an hour. */
  purge(): Promise<void>;
  /** Does what was asked for so far and closes; later calls reject. */
  close(): Promise<void>;
}

export interface Conversation<M> {
  readonly summary?: M;
  /** Ids grow from turn to turn. */
  readonly turns: readonly { readonly id: number; readonly messages: readonly M[] }[];
}

export interface ConversationSize {
  /** Without the summary. */
  readonly messages: number;
  /** Of the JSON, with the summary. */
  readonly bytes: number;
}

/** A conversation from elsewhere: a summary of its beginning, and whole turns. */
export interface ImportedConversation<M> {
  readonly summary?: M;
  /** `at` is now if it is absent. */
  readonly turns: readonly { readonly messages: readonly M[]; readonly at?: number }[];
}

/** One conversation in the list of all. Times are milliseconds since the epoch. */
export interface ConversationInfo {
  readonly name: string;
  readonly turns: number;
  readonly messages: number;
  /** Of the messages' JSON. */
  readonly bytes: number;
  readonly firstAt: number;
  readonly lastAt: number;
  readonly summarized: boolean;
}

export interface StoredTurn<M> {
  readonly id: number;
  readonly at: number;
  readonly messages: readonly M[];
}
