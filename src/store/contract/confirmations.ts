/** Tool calls that wait for a person's decision. */
export interface ConfirmationStore {
  /** Adds one that waits; false if its client, or the store, has as many open ones as allowed. */
  add(
    wanted: NewConfirmation,
    most: { readonly ofClient: number; readonly ofAll: number },
  ): Promise<boolean>;
  /** One of the open ones, and of those that were closed within a day. */
  find(id: string): Promise<Confirmation | undefined>;
  /** Those about which something has to be done, in the order in which they were added. */
  open(): Promise<readonly Confirmation[]>;
  /** Moves it from one state to another, once: false, and nothing is written, if it is not in that state. */
  move(id: string, from: ConfirmationState, to: ConfirmationMove): Promise<boolean>;
}

/** Plain data. Times are milliseconds since the epoch. */
export interface NewConfirmation {
  /** Unique in the store. */
  readonly id: string;
  /** The client whose turn made the call. */
  readonly channel: string;
  readonly client: string;
  readonly tool: string;
  /** The JSON text of its arguments. */
  readonly arguments: string;
  /** Ids of the clients of the same channel that may decide, and what they are asked. */
  readonly by: readonly string[];
  readonly question: string;
  readonly until: number;
}

export interface Confirmation extends NewConfirmation {
  readonly state: ConfirmationState;
  /** Who decided; absent while nobody has. */
  readonly decidedBy?: string;
}

export type ConfirmationState =
  /** Open: until then somebody may decide. */
  | "waiting"
  /** Open: until then the call may begin. */
  | "confirmed"
  /** Open: its client is not told yet. */
  | "denied"
  | "expired"
  /** Closed: the call has begun, or its client was told that it does not run. */
  | "begun"
  | "informed";

export interface ConfirmationMove {
  readonly state: ConfirmationState;
  readonly until?: number;
  readonly decidedBy?: string;
}
