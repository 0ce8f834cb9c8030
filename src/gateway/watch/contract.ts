import type { JsonPath, MessageCondition } from "../../base/contract.ts";

/** A topic whose messages begin turns. */
export interface WatchRule {
  /** A topic filter. */
  readonly topic: string;
  /** The condition for people. */
  readonly written: string;
  readonly when?: MessageCondition;
  /** It matches once a topic has been silent for so many milliseconds; then `when` and `unusual` are absent. */
  readonly missingMs?: number;
  /** The value that has to be unusual for the hour of the week. */
  readonly unusual?: JsonPath;
  readonly prompt: string;
  readonly client: string;
  readonly channel: string;
  /** For how long a topic starts no other turn of the same watch. */
  readonly cooldownMs: number;
}

export interface WatchedMessage {
  readonly topic: string;
  readonly payload: Uint8Array;
  /** The broker had stored it: it only says how things are. */
  readonly retained: boolean;
}

/** What a match tells the model. */
export interface WatchMatch {
  readonly topic: string;
  readonly text: string;
}
