import type { RequestExtras } from "../../base/contract.ts";
import type { ConfirmationStore } from "./confirmations.ts";
import type { ConversationStore } from "./conversations.ts";
import type { CounterStore } from "./counters.ts";
import type { JobStore } from "./jobs.ts";

/**
 * What survives a crash: requests, their answers, and the conversations they belong to.
 *
 * One process writes under the name of one owner. A request is held under a claim: its owner and the
 * number of the attempt. Every write shows its claim. A claim that is not in force (another owner has
 * claimed the request, or a later attempt has begun) writes nothing: this fencing lets several gateways
 * share one store.
 *
 * Every call returns a promise because a store may be on another machine. Calls take effect in the order
 * in which they were made. When a call resolves, what it wrote survives the end of the process and a loss
 * of power; `delivered`, `append` and `count` alone survive a loss of power only with the next other
 * write. A call rejects with a `Failure` of code `busy` when nothing could be written (disk full, read-only, store
 * unreachable): then nothing of it was written, and it may be made again. A store across a network also rejects
 * with `unsure`: what was asked for is written or not. It may be asked for again with the same arguments (the
 * same objects): what is written already is not written twice, and the result is that of the first time, also when
 * the right to write it was lost meanwhile.
 */
export interface Store<M> extends ConversationStore<M>, CounterStore {
  /**
   * Takes a request, unless the store has it already. The decision of `admission` is part of the same
   * transaction. Without `admission` every new request is taken, and an earlier one is left as it is.
   */
  accept(request: NewRequest, admission?: Admission): Promise<Acceptance<M>>;
  /** The latest request of that name and lane, unless its answer was delivered before the window. */
  find(named: Pick<NewRequest, "name" | "lane">): Promise<StoredRequest<M> | undefined>;
  /** The whole request; undefined if the claim is stale. */
  load(claim: Claim): Promise<StoredRequest<M> | undefined>;
  /**
   * The answer of a request also goes to this address, whoever holds the request now or later; of those that
   * its owner knows, the latest few are kept. Returns false when the request is delivered already, or is not known.
   */
  join(claim: Pick<Claim, "seq">, to: JoinedAddress): Promise<boolean>;
  /** Begins an attempt. Returns the claim to show from now on; undefined if the claim is stale. */
  begin(claim: Claim): Promise<Claim | undefined>;
  /** Stores a message of a running turn (a tool call, a tool result) for an attempt after a crash. */
  record(claim: Claim, message: M): Promise<boolean>;
  /**
   * Stores the answer and, in the same transaction, adds the messages of the turn to the conversation.
   * With `forgets`, the conversation begins anew after that.
   */
  answered(
    claim: Claim,
    answer: StoredAnswer,
    messages: readonly M[],
    forgets?: boolean,
  ): Promise<boolean>;
  /** Ends a request that never ran (expired, or stopped while it waited) with an answer. */
  expire(claim: Claim, answer: StoredAnswer): Promise<boolean>;
  /**
   * The last part was delivered, or never can be: the answer stays for duplicates only. If a loss of power
   * undoes it, the answer is delivered once more.
   */
  delivered(claim: Claim): Promise<boolean>;
  /** Gives up an attempt on purpose (shutdown): it does not count, and the next owner may claim the request. */
  release(claim: Claim): Promise<boolean>;
  /**
   * Claims every request without a delivered answer that nobody holds any more: after a restart, what the
   * former process left. Returns them in the order of acceptance, without their texts. There may be very
   * many rejections among them, which are not returned: `rejections` reads those.
   */
  claimAbandoned(): Promise<readonly AbandonedRequest[]>;
  /** Rejections of this owner that are not delivered, oldest first, from behind `after` (a `Claim.seq`). */
  rejections(after: number, most: number): Promise<readonly StoredRequest<M>[]>;
  /**
   * Extends the leases of all that this owner holds. Returns false if it came too late: others may claim all of
   * that, and every claim of this owner is stale for good.
   */
  renew(): Promise<boolean>;
  /** Whether there is a job. */
  hasJobs(): Promise<boolean>;
  /** The jobs. Their code is loaded with the first call. */
  jobs(): Promise<JobStore>;
  /** Calls that wait for a person's decision. Their code is loaded with the first call. */
  confirmations(): Promise<ConfirmationStore>;
  /**
   * Deletes requests that were delivered before the window, never one without a delivered answer, and
   * what is over the limits of conversations and counters. Looks at the turns at most once an hour.
   */
  purge(): Promise<void>;
}

/** Decides about a request inside the transaction that takes it. Must not throw. */
export interface Admission {
  /**
   * Called once for a request that the store does not have. Returns the answer to store in place of a
   * turn (a rejection), or takes the request: `"wait"` stores it with attempt 0, `"begin"` begins its first
   * attempt in the same transaction. Only a request that starts as soon as it is stored may begin: each
   * crash after that costs it an attempt. With a `Stop`, all requests of the lane that have no answer are
   * cancelled with the next attempt, also after a crash. A `Ready` request needs no turn: it is stored with its answer,
   * and takes room as others do. With `"refuse"` nothing is written. `hasRoom` is false when the store's bounds are
   * reached: then to take the request is a fault of the caller.
   *
   * In a store that several gateways share (`Cluster`), `"leave"` is always allowed: it stores the request for the
   * lane's owner (this one, too) or for whoever claims the lane, and `Cluster.poll` returns it there. `elsewhere` is
   * given when this owner does not hold the lane, or when `Cluster.poll` has not returned all open requests of the
   * lane yet. Then `"wait"` and `"begin"` claim a free lane; where the lane is not free, they are a fault of the
   * caller.
   */
  readonly admit: (
    hasRoom: boolean,
    elsewhere?: LaneElsewhere,
  ) => StoredAnswer | Stop | Ready | "wait" | "begin" | "leave" | "refuse";
  /**
   * Called once for a request whose answer was delivered. Returns the answer to store in place of another
   * delivery, or undefined to deliver the same answer again: it is undelivered from now on. Without `repeat` the
   * request is known, and its answer is not delivered again.
   */
  readonly repeat?: () => StoredAnswer | undefined;
}

/** A lane that this owner does not hold, or of which it does not know all requests yet. */
export interface LaneElsewhere {
  /** No living owner holds it, and none of its requests is open. */
  readonly isFree: boolean;
  /** Its requests without an answer. */
  readonly open: number;
}

/** The answer of a request that is answered when it is taken. */
export interface Ready {
  readonly ready: StoredAnswer;
}

/** The answer to a command that cancels what its lane waits for. */
export interface Stop {
  readonly stop: StoredAnswer;
}

/** A request as it is accepted; plain data. Times are milliseconds since the epoch. */
export interface NewRequest {
  /** Its duplicates have the same name and the same lane; bounded in length. */
  readonly name: string;
  /** Requests of one lane are answered in order; bounded in length. */
  readonly lane: string;
  /** The name of its conversation if that is not the lane; bounded in length. */
  readonly conversation?: string;
  /** What its client calls that; bounded in length. */
  readonly context?: string;
  readonly channel: string;
  readonly client: string;
  readonly text: string;
  /** What came with the text; absent for most requests. */
  readonly extras?: RequestExtras;
  readonly id?: string;
  readonly stream: boolean;
  /** What the channel needs to answer it later; opaque. */
  readonly address: string;
  readonly acceptedAt: number;
  readonly expiresAt?: number;
  /** Whether an earlier request of this name is the same request. */
  readonly mayRepeat: boolean;
  /** Whether to run it again if the earlier request ended in a failure; else that answer is delivered again. */
  readonly retriesFailed: boolean;
  /**
   * Its name is known at least until then, and for longer while the store has it: nothing else has this name. Absent is
   * for the window after its delivery.
   */
  readonly knownUntil?: number;
}

/** Who may write about a request: the fencing token. */
export interface Claim {
  /** Identifies the request in this store and grows with each acceptance. */
  readonly seq: number;
  readonly owner: string;
  /** 0 before the first attempt. */
  readonly attempt: number;
}

export type Acceptance<M> =
  /** `claim.attempt` is 1 if its first attempt has begun, else 0. */
  | { readonly is: "new"; readonly claim: Claim }
  /** It is stored for whoever holds or claims its lane (`Cluster.poll`). */
  | { readonly is: "left" }
  /** `admission` refused it: nothing is stored. */
  | { readonly is: "refused" }
  /** The answer of `admission` is stored and has to be delivered. */
  | { readonly is: "answered"; readonly claim: Claim; readonly answer: StoredAnswer }
  /** The store has the request, under the claim of its holder; with `stored.answer` if it is answered. */
  | { readonly is: "known"; readonly stored: StoredRequest<M> }
  /** Its answer was delivered before: `stored.answer` has to be delivered again, under this owner's claim. */
  | { readonly is: "repeated"; readonly stored: StoredRequest<M> };

/** The texts of an answer, byte for byte, in the parts into which they were divided. */
export interface StoredAnswer {
  readonly parts: readonly string[];
  /** The failure that ended the answer; its sentence is not among the parts. */
  readonly failure?: StoredFailure;
}

export interface StoredFailure {
  readonly code: string;
  readonly message: string;
  /** Seconds. */
  readonly retryAfter?: number | undefined;
}

export interface StoredRequest<M> {
  readonly claim: Claim;
  readonly request: Omit<NewRequest, "mayRepeat" | "retriesFailed">;
  /** The messages that its attempts recorded, in order. */
  readonly progress: readonly M[];
  readonly answer?: StoredAnswer;
}

/** Where one more client of the same request wants its answer. */
export interface JoinedAddress {
  /** Opaque, as `NewRequest.address`. */
  readonly address: string;
  readonly id?: string;
  readonly stream: boolean;
  /** Milliseconds since the epoch. */
  readonly expiresAt?: number;
}

/** A request that a former owner left. */
export interface AbandonedRequest {
  readonly claim: Claim;
  readonly request: Omit<StoredRequest<never>["request"], "text" | "extras">;
  /** Its answer is stored and not delivered. */
  readonly isAnswered: boolean;
  /** A `Stop` came after it: it is answered and does not run. */
  readonly isCancelled: boolean;
  /** Further addresses for its answer; in a store that several gateways share, `Cluster.poll` has them. */
  readonly joined?: readonly JoinedAddress[];
}

export interface StoreOptions {
  /** Unique to this process. */
  readonly owner: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly bounds: StoreBounds;
  /** No other process has this store open (its instance is locked): every other owner is dead. */
  readonly sole?: boolean;
}

export interface StoreBounds {
  /** Milliseconds after which a claim that was not renewed is abandoned. */
  readonly leaseMs: number;
  /** Milliseconds for which a delivered answer stays for duplicates. */
  readonly windowMs: number;
  /** Requests and their bytes, undelivered or within the window: at these there is no room for another. */
  readonly rows: number;
  readonly bytes: number;
  /** The same for one lane. */
  readonly laneRows: number;
  readonly laneBytes: number;
  /** Delivered rejections that stay for duplicates; the oldest go first. */
  readonly rejections: number;
  /** Messages, and characters of their JSON, that `history` gives of one conversation: whole turns, at least the last. */
  readonly messages: number;
  readonly characters: number;
  /**
   * A turn that a compaction hides stays for so many milliseconds, if it is among the last so many of its
   * conversation, and all newer turns of all conversations hold fewer bytes.
   */
  readonly hiddenMs: number;
  readonly hiddenTurns: number;
  readonly hiddenBytes: number;
  /**
   * Conversations, and bytes of all of them. Over either limit the longest unused are deleted, but none
   * that was used within `usedMs`. A store in memory holds less.
   */
  readonly conversations: number;
  readonly conversationBytes: number;
  readonly usedMs: number;
  /** Turns of one conversation, hidden or not; the oldest are deleted. */
  readonly turns: number;
  /**
   * Bytes of the turns of one conversation, hidden or not, and of those of the last 24 hours. When a turn
   * is added over either limit, the oldest are deleted until an eighth is free; the last turn stays.
   */
  readonly turnBytes: number;
  readonly turnBytesPerDay: number;
  /** Counters that count until some time. */
  readonly counters: number;
}
