import type { Failure } from "./failure.ts";
import type { Secret } from "./secret.ts";

/** One piece of an answer. Only the last part is `done`. */
export interface Part {
  readonly text: string;
  readonly done?: true;
  /** Only on the last part: the answer ended with this failure. Its code is one of the wire's error codes. */
  readonly error?: Failure;
}

/** How much may be used; 0 is no limit. Named as in the configuration. */
export interface Limits {
  readonly requests_per_minute: number;
  /** Requests that may come at once. */
  readonly burst: number;
  /** Requests that may wait behind the running one. */
  readonly queued: number;
  /** Tokens of model calls, input and output, per local calendar day. */
  readonly tokens_per_day: number;
  /** In the units of `model_list[].prices`. */
  readonly cost_per_day: number;
  /** Tool calls of one turn, with everything that the turn starts. */
  readonly tool_calls_per_turn: number;
}

export interface Usage {
  /** All that the model read, also from a cache. */
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** The part of `inputTokens` that came from the provider's cache; absent if there is none. */
  readonly cachedTokens?: number;
  /** The part of `inputTokens` that the provider bills as written to its cache; absent if there is none. */
  readonly cacheWriteTokens?: number;
}

/** Tokens, and their cost in the units of `model_list[].prices`. */
export interface Spent extends Usage {
  readonly cost: number;
}

/** A model call of a turn that has ended. Times are milliseconds of `performance.now()`. */
export interface EndedModelCall {
  /** Its `model_name`, its protocol, and the name that its server expects. */
  readonly name: string;
  readonly provider: string;
  readonly model: string;
  readonly startedAt: number;
  readonly endedAt: number;
  readonly spent: Spent;
  /** The kind of the error; absent after a whole answer. */
  readonly error?: string;
}

/** A tool call of a turn that has ended. */
export interface EndedToolCall {
  /** `(unknown)` if there is no such tool. */
  readonly tool: string;
  readonly verdict: ToolVerdict;
  readonly startedAt: number;
  readonly endedAt: number;
  /** Redacted and bounded; only for traces that show texts. */
  readonly texts?: ToolTexts;
}

/** What the model gave a tool, and what came back. */
export interface ToolTexts {
  readonly arguments: string;
  readonly result: string;
}

/** A call of a turn that has ended. */
export type EndedCall = EndedModelCall | EndedToolCall;

/** `unknown`: there is no such tool. `refused`: the client may not use it, or not any more. */
export type ToolVerdict = "ok" | "failed" | "refused" | "unknown";

/** The remaining budget of a turn. Still valid after the turn, for background tasks that it started. */
export interface Allowance {
  /** Hears of each model call and tool call of the turn, and of all that it started, at its end. Must not throw. */
  readonly ended?: (call: EndedCall, texts?: ToolTexts) => void;
  /**
   * Counts the expected usage of a model call before the call. The returned function adds the difference
   * to the real usage, which may be negative. Throws a `Failure` of code `budget` when the day's budget is
   * used up.
   */
  readonly begin: (expected: Spent) => (more: Spent) => void;
  /** Counts one tool call; false when the turn may make no more. */
  readonly takeCall: () => boolean;
  /** The limits and usage of the client that asks. */
  readonly status: () => UsageStatus;
}

/** A client's limits and what it has used of them; a limit of 0 is no limit. */
export interface UsageStatus {
  readonly tokensToday: number;
  readonly tokensPerDay: number;
  readonly costToday: number;
  readonly costPerDay: number;
  readonly requestsPerMinute: number;
  readonly burst: number;
  readonly toolCallsPerTurn: number;
  /** Until the next day begins. */
  readonly secondsLeft: number;
  /** Replies dropped today because a queue of the channel or of the gateway was full. */
  readonly droppedToday: number;
}

/** The result of one check: a line of `doctor`, and a warning at the start of a gateway if it is not ok. */
export interface Check {
  /** What kind of check it is, for scripts: `broker.tcp`. It never changes. */
  readonly code?: string;
  /** What was checked, in two or three words. */
  readonly name: string;
  /** `warn`: it works but should be changed. `fail`: it does not work, or is open to anyone. */
  readonly result: "ok" | "warn" | "fail";
  /** One sentence; never the value of a secret. */
  readonly message: string;
  /** The command or setting that fixes it. */
  readonly remedy?: string;
}

/** A line of `doctor`. */
export interface Diagnosis extends Omit<Check, "code" | "result"> {
  readonly code: string;
  /** `skip`: it was not made; the message says why. */
  readonly result: Check["result"] | "skip";
  /** What a gateway would end with, or wait for. */
  readonly failure?: Failure;
}

/** What a request may carry besides its text. Plain data, so that a store can write it. */
export interface RequestExtras {
  readonly format?: AnswerFormat;
  /** Code points of the answer at most; JSON of a format is not cut. */
  readonly maxChars?: number;
  /** At least one, in the order of the request. */
  readonly images?: readonly Image[];
  /** The program began the turn: its client did not ask. */
  readonly pushed?: Pushed;
  /** Agents that the question has come through. */
  readonly hops?: number;
  /** The span of the client in which the request was made: a `traceparent` of W3C Trace Context. */
  readonly traceparent?: string;
}

/** What made the program begin a turn. */
export interface Pushed {
  readonly from: PushOrigin;
  /** What happened, for the model. Untrusted. */
  readonly data?: { readonly source: string; readonly text: string };
  /** The id of a call that waited for a person and is confirmed: the turn makes it, before a model is asked. */
  readonly confirmation?: string;
}

export type PushOrigin = "message" | "job" | "watch" | "confirm";

/** What a message of a topic is compared with. */
export interface MessageCondition {
  /** It has to hold with this message and not with the one before it. */
  readonly becomes: boolean;
  /** One of these has to hold, with all of its terms. */
  readonly anyOf: readonly (readonly ConditionTerm[])[];
}

export type ConditionTerm =
  | {
      readonly path: JsonPath;
      readonly operator: ComparisonOperator;
      readonly value: string | number | boolean | null;
    }
  /** The value differs from that of the message before. */
  | { readonly path: JsonPath; readonly operator: "changed" };

export type ComparisonOperator = "==" | "!=" | "<" | "<=" | ">" | ">=";

/** Names and indexes, from the whole payload to one of its values. */
export type JsonPath = readonly (string | number)[];

/** The form of an answer: JSON that fits a schema. */
export interface AnswerFormat {
  readonly type: "json_schema";
  /** Plain JSON, checked and bounded by `formatOf`. */
  readonly schema: Readonly<Record<string, unknown>>;
}

/** An image of a request. */
export interface Image {
  readonly mediaType: ImageType;
  /** Base64 (RFC 4648, section 4). */
  readonly data: string;
}

export type ImageType = "image/jpeg" | "image/png" | "image/webp";

/** Where a PostgreSQL database is, and how to reach it. */
export interface PostgresAddress {
  /** In the order in which they are tried. */
  readonly hosts: readonly PostgresHost[];
  readonly user: string;
  readonly database: string;
  readonly tls: PostgresTls;
  /** Milliseconds for one host to be reached. */
  readonly connectTimeoutMs: number;
  /** As the server shows it among its connections. */
  readonly applicationName: string;
}

export interface PostgresHost {
  /** A name or an address; what begins with `/` is the folder of a socket. */
  readonly host: string;
  readonly port: number;
  readonly password?: Secret;
}

/** Paths are absolute. */
export interface PostgresTls {
  /** As libpq's `sslmode`. */
  readonly mode: "disable" | "allow" | "prefer" | "require" | "verify-ca" | "verify-full";
  /** Certificates to verify the server with (PEM); those of the runtime if it is absent. */
  readonly rootFile?: string;
  readonly certificateFile?: string;
  readonly keyFile?: string;
}

/** The value of a property of a device. */
export type HomeValue = string | number | boolean;

/** What a property of a device is now. */
export interface HomeReading {
  readonly name: string;
  /** Undefined if it was not heard yet. */
  readonly value: HomeValue | undefined;
  readonly unit: string;
  /** In milliseconds since the epoch; 0 if it was not heard. */
  readonly heardAt: number;
  /** The broker had stored it before that. */
  readonly isRetained: boolean;
}

/** What it can be set to: one of some words, a number, or a colour. */
export interface HomeSetting {
  readonly name: string;
  readonly words: readonly string[];
  readonly range: { readonly min: number; readonly max: number; readonly unit: string } | undefined;
}

/** What became of a change. */
export interface SetOutcome {
  /** The device reports what was set. */
  readonly isConfirmed: boolean;
  /** It has reported something since. */
  readonly isHeard: boolean;
  /** What was set can be read by this client. */
  readonly isReadable: boolean;
  /** Nobody was subscribed to the topic of the command. */
  readonly noSubscribers: boolean;
}
