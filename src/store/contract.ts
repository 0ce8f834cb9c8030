/**
 * What survives a crash: requests, their answers, and the conversations they belong to.
 *
 * One process writes under one owner's name. A request is held under a claim: its owner and the number
 * of the attempt. Whoever writes shows its claim, and a claim that is not the one in force (another
 * owner took the request over, or a later attempt began) writes nothing: that is the fencing which lets
 * several gateways share one store.
 *
 * Every call is a promise because a store may be on another machine. Calls take effect in the order in
 * which they were made. When a call resolves, what it wrote survives the end of the process and a loss of
 * power; `append` and `writeCounters` alone survive a loss of power only with the next other call.
 * A call rejects with a `Failure` of code `busy` when nothing could be written (disk full, read-only,
 * store unreachable): then nothing of it was, and it may be made again.
 */
export interface Store<M> extends ConversationStore<M>, CounterStore {
  /**
   * Takes a request, unless the store knows it already. What `admission` decides is part of the same
   * transaction; without it every new request is taken and a known one is left as it is.
   */
  accept(ticket: NewRequest, admission?: Admission): Promise<Acceptance<M>>;
  /** The whole request, as long as the claim is in force; undefined where it is stale. */
  load(claim: Claim): Promise<StoredRequest<M> | undefined>;
  /** An attempt begins; the claim to show from now on, or undefined where the one shown is stale. */
  begin(claim: Claim): Promise<Claim | undefined>;
  /** Keeps one message of a turn that runs (a tool call, a tool's result) for an attempt after a crash. */
  record(claim: Claim, message: M): Promise<boolean>;
  /**
   * Keeps the answer and, in the same transaction, what the turn adds to the conversation; where it
   * `forgets`, the conversation begins anew behind it.
   */
  answered(
    claim: Claim,
    answer: StoredAnswer,
    messages: readonly M[],
    forgets?: boolean,
  ): Promise<boolean>;
  /** Ends a request that never ran (expired, stopped while it waited) with an answer of its own. */
  expire(claim: Claim, answer: StoredAnswer): Promise<boolean>;
  /** The last part was delivered, or never can be: the answer is kept for duplicates only. */
  delivered(claim: Claim): Promise<boolean>;
  /** The attempt was broken off on purpose (shutdown): it does not count, and the request is left to the next owner. */
  release(claim: Claim): Promise<boolean>;
  /**
   * Takes every request without a delivered answer that nobody holds any more. At the start that is what
   * is left after a restart. Returns them in the order of acceptance, without their texts and without
   * rejections, of which there may be very many: `rejections` reads those.
   */
  claimAbandoned(): Promise<readonly AbandonedRequest[]>;
  /** Rejections that this owner holds and that are not delivered, from behind `after` (a `Claim.seq`), oldest first. */
  rejections(after: number, most: number): Promise<readonly StoredRequest<M>[]>;
  /** Extends the leases of all that this owner holds. */
  renew(): Promise<void>;
  /**
   * Forgets requests that were delivered before the window; never one without a delivered answer. Looks
   * at the turns at most once an hour.
   */
  purge(): Promise<void>;
}

/** Decides about a request inside of the transaction that takes it. Must not throw. */
export interface Admission {
  /**
   * Called once for a request that the store does not know. Returns the answer to store in place of a
   * turn (a rejection), or takes the request: `"wait"` stores it with attempt 0, `"begin"` begins its first
   * attempt in the same transaction. Only a request that starts as soon as it is stored may begin: each
   * crash after that costs it an attempt. `hasRoom` is false when the store's bounds are reached: then to
   * take the request is a fault of the caller.
   */
  readonly admit: (hasRoom: boolean) => StoredAnswer | "wait" | "begin";
  /**
   * Called once for a request whose answer was delivered. Returns the answer to store in place of
   * delivering that one again, or undefined to deliver it again: it is undelivered from now on.
   */
  readonly repeat: () => StoredAnswer | undefined;
}

/**
 * What was counted, under names. Those that count until some time are dropped a day after it, and before
 * that where there are more of them than the bound: the ones first that count for nothing soonest.
 */
export interface CounterStore {
  /** The meters as they were kept last, in no order: every one, or `most` of them. */
  counters(most?: number): Promise<readonly Counter[]>;
  /** One of them; undefined where there is none of that name. */
  counter(name: string): Promise<Counter | undefined>;
  /**
   * Keeps what `take` gives. It is called, and must not throw, when the transaction begins in which this
   * is written, so that what changes meanwhile is written once; calls that are made in one go share a
   * transaction, or the earlier ones are written before the later ones. Where this rejects, nothing that
   * was taken is kept.
   */
  writeCounters(take: () => CounterChanges): Promise<void>;
}

/** One thing that is counted. */
export interface Counter {
  readonly name: string;
  /** Plain data, its owner's alone to read. */
  readonly state: unknown;
  /** Milliseconds since the epoch after which it counts for nothing; never, where it is left out. */
  readonly until?: number;
}

export interface CounterChanges {
  readonly put: readonly Counter[];
  /** Names that are not kept any more. */
  readonly drop: readonly string[];
}

/**
 * What was said, each conversation under a name of its own (its lane): a list of whole turns. A cut
 * says from where on it is still shown, and what stands for all that was said before.
 */
export interface ConversationStore<M> {
  /** The summary of the cut in force and the latest whole turns behind it, oldest message first, within the store's bounds. */
  history(lane: string): Promise<readonly M[]>;
  /** What history is made of: all turns behind the cut, the oldest first, as far as `WHOLE` goes. */
  conversation(lane: string): Promise<Conversation<M>>;
  /**
   * Adds a whole turn to a conversation, for a request that this store does not hold; where it
   * `forgets`, the conversation begins anew behind it.
   */
  append(lane: string, messages: readonly M[], forgets?: boolean): Promise<void>;
  /**
   * From now on the conversation is shown from behind the turn `through`, with the summary in front.
   * False, and nothing done, where that turn is not behind the cut in force: it was cut meanwhile.
   */
  compact(lane: string, through: number, summary?: M): Promise<boolean>;
  /**
   * Begins a conversation with what was said elsewhere, as a whole. False where the store knows the
   * conversation, even if only that it was deleted.
   */
  importConversation(lane: string, said: ImportedConversation<M>): Promise<boolean>;
  /** Every conversation, the one used last first, at most `SESSIONS`. */
  conversations(): Promise<readonly ConversationInfo[]>;
  /** Every turn of a conversation, the oldest first, cut or not; a part of them is in memory at a time. */
  transcript(lane: string): AsyncIterable<StoredTurn<M>>;
  /** Deletes a conversation for good; says how many turns it had. */
  erase(lane: string): Promise<number>;
  /** Forgets of the conversations what is older than they are kept, or beyond the bounds; looks at most once an hour. */
  purge(): Promise<void>;
  /** Writes what was asked for so far and closes; calls after it reject. */
  close(): Promise<void>;
}

export interface Conversation<M> {
  readonly summary?: M;
  /** Ids grow from turn to turn. */
  readonly turns: readonly { readonly id: number; readonly messages: readonly M[] }[];
}

/** A conversation from elsewhere: what was said before in short, and whole turns. */
export interface ImportedConversation<M> {
  readonly summary?: M;
  /** `at` is now where it is left out. */
  readonly turns: readonly { readonly messages: readonly M[]; readonly at?: number }[];
}

/** One conversation among all. Times are milliseconds since the epoch. */
export interface ConversationInfo {
  readonly lane: string;
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

/** A request as it is accepted; plain data. Times are milliseconds since the epoch. */
export interface NewRequest {
  /** Under which it is known again; bounded in length. */
  readonly name: string;
  /** Whose it is: requests of one lane are answered in order; bounded in length. */
  readonly lane: string;
  /** Its conversation, where that is not the lane's own; bounded in length. */
  readonly conversation?: string;
  readonly channel: string;
  readonly client: string;
  readonly text: string;
  readonly id?: string;
  readonly stream: boolean;
  /** What the channel needs to answer it later; opaque. */
  readonly address: string;
  readonly acceptedAt: number;
  readonly expiresAt?: number;
  /** Whether an earlier request of this name is this one; false makes a new one of it in any case. */
  readonly mayRepeat: boolean;
  /** Whether an earlier one that ended in a failure is tried anew (asked again) rather than repeated (delivered again). */
  readonly retriesFailed: boolean;
}

/** Who may write about a request: the fencing token. */
export interface Claim {
  /** Names the request in this store and grows with each acceptance. */
  readonly seq: number;
  readonly owner: string;
  /** 0 before the first. */
  readonly attempt: number;
}

export type Acceptance<M> =
  | { readonly is: "new"; readonly claim: Claim }
  /** The answer that `admission` gave is stored and has to be delivered. */
  | { readonly is: "answered"; readonly claim: Claim; readonly answer: StoredAnswer }
  /** Known: `stored.answer` is there if it was answered. The claim is that of whoever holds it. */
  | { readonly is: "known"; readonly stored: StoredRequest<M> }
  /** Known and delivered before: `stored.answer` has to be delivered again, under this owner's claim. */
  | { readonly is: "repeated"; readonly stored: StoredRequest<M> };

/** An answer, byte for byte: its texts in the parts in which they were cut. */
export interface StoredAnswer {
  readonly parts: readonly string[];
  /** The answer ended in this failure, whose sentence is not among the parts. */
  readonly failure?: StoredFailure;
}

export interface StoredFailure {
  readonly code: string;
  readonly message: string;
  /** Seconds. */
  readonly retryAfter?: number;
}

/** A request in the store. */
export interface StoredRequest<M> {
  readonly claim: Claim;
  readonly request: Omit<NewRequest, "mayRepeat" | "retriesFailed">;
  /** What the attempts so far recorded, in order. */
  readonly progress: readonly M[];
  readonly answer?: StoredAnswer;
}

/** A request that a former owner left behind. */
export interface AbandonedRequest {
  readonly claim: Claim;
  readonly request: Omit<StoredRequest<never>["request"], "text">;
  /** Its answer is stored and not delivered. */
  readonly isAnswered: boolean;
}

export interface StoreOptions {
  /** Unique to this process. */
  readonly owner: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly bounds: StoreBounds;
  /** Nobody else has this store open (its home is locked): every other owner is dead. */
  readonly sole?: boolean;
}

export interface StoreBounds {
  /** Milliseconds after which a claim that was not renewed is nobody's. */
  readonly leaseMs: number;
  /** How long a delivered answer is remembered for duplicates. */
  readonly windowMs: number;
  /** Requests and their bytes, waiting or remembered, beyond which there is no room for another. */
  readonly rows: number;
  readonly bytes: number;
  /** The same of one lane. */
  readonly laneRows: number;
  readonly laneBytes: number;
  /** Delivered rejections that are remembered; the oldest go first. */
  readonly rejections: number;
  /** Messages and characters (of their JSON) of one conversation that `history` gives; whole turns, at least the last one. */
  readonly messages: number;
  readonly characters: number;
  /**
   * Turns that a cut hides are kept so long (milliseconds), as long as they are among so many of their
   * conversation and all turns of all conversations after them hold fewer bytes.
   */
  readonly hiddenMs: number;
  readonly hiddenTurns: number;
  readonly hiddenBytes: number;
  /**
   * Conversations, and bytes of all of them: beyond either the ones longest unused are forgotten, but
   * none that was used within so many milliseconds. A store in memory keeps less.
   */
  readonly conversations: number;
  readonly conversationBytes: number;
  readonly usedMs: number;
  /** Turns of one conversation, shown or not: beyond them the oldest are forgotten. */
  readonly turns: number;
  /**
   * Bytes of one conversation's turns, shown or not, and of those of the last 24 hours. When a turn is
   * added beyond either, the oldest of them are forgotten until an eighth is free; the last turn stays.
   */
  readonly turnBytes: number;
  readonly turnBytesPerDay: number;
  /** Meters that count until some time. */
  readonly counters: number;
}
