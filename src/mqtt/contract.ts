import type { Log } from "../base/log.ts";
import type { MqttChannel } from "../config/contract.ts";

/** The asking side of the wire, for `send` and `listen`: connects as `picoclaw-cli-<random>`, never as the device. */
export interface Device {
  /** The protocol that the broker agreed to. */
  readonly protocol: 4 | 5;
  /**
   * Publishes one request and yields the parts of its answer until it is complete. Throws a `Failure`:
   * `unserved` (status `offline`, or PUBACK reason 16), `no_answer` (nothing within `firstPartMs`),
   * `cut_off` (silence of `nextPartMs`, or the broker lost for good, after the first part), `refused`,
   * `unreachable`. An answer that is an error ends normally: its last part carries `error`.
   */
  readonly ask: (question: Question) => AsyncGenerator<AnswerPart, void>;
  /**
   * Publishes one request at QoS 1 and resolves when the broker has it; for `--no-wait`. Throws a `Failure`
   * of code `no_answer` where that takes longer than `firstPartMs`.
   */
  tell(
    question: Pick<Question, "client" | "text" | "id" | "stream" | "firstPartMs" | "signal">,
  ): Promise<void>;
  /** Requests and responses as they pass, and the state of the connection; ends with `signal`. No clients: all. */
  watch(options: WatchOptions): AsyncGenerator<Watched, void>;
  close(): Promise<void>;
}

export interface DeviceOptions {
  readonly channel: MqttChannel;
  readonly connectTimeoutMs: number;
  readonly log: Log;
  readonly signal: AbortSignal;
}

export interface Question {
  readonly client: string;
  readonly text: string;
  /** Names the request; at most 128 characters. */
  readonly id: string;
  /** Undefined leaves it to the gateway's configuration. */
  readonly stream?: boolean;
  readonly firstPartMs: number;
  readonly nextPartMs: number;
  readonly signal: AbortSignal;
}

export interface AnswerPart {
  readonly text: string;
  /** Absent from a gateway that does not number its parts. */
  readonly seq?: number;
  /** This part begins the answer anew: forget the parts before it. True for the first one, too. */
  readonly restart: boolean;
  readonly done: boolean;
  readonly error?: { readonly code: string; readonly retryAfter?: number };
  /** The message as it came. */
  readonly payload: Uint8Array;
}

export interface WatchOptions {
  readonly clients: readonly string[];
  readonly requests: boolean;
  readonly responses: boolean;
  readonly signal: AbortSignal;
}

export type Watched = WatchedMessage | WatchedConnection;

export interface WatchedMessage {
  readonly type: "message";
  readonly time: Date;
  readonly client: string;
  readonly direction: "request" | "response";
  readonly payload: Uint8Array;
  /** What the payload says, where it follows the contract; every field from outside is untrusted. */
  readonly text?: string;
  readonly id?: string;
  readonly seq?: number;
  readonly done?: boolean;
  readonly error?: { readonly code: string; readonly retryAfter?: number };
  readonly retained: boolean;
}

export interface WatchedConnection {
  readonly type: "connection";
  readonly time: Date;
  readonly state: "connected" | "lost" | "restored";
  /** Why it was lost. */
  readonly reason?: string;
  /** With `restored`: milliseconds in which messages may have passed unseen. */
  readonly gapMs?: number;
}
