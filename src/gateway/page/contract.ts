import type { GatewayStatus } from "../statistics/contract.ts";

export interface PageConversation {
  /** Names the conversation to `conversation`. */
  readonly name: string;
  readonly client: string;
  readonly channel: string;
  readonly turns: number;
  /** Milliseconds since 1970. */
  readonly lastAt: number;
}

export interface PageMessage {
  readonly from: "client" | "agent" | "summary" | "call" | "tool";
  /** Which one is called, or answers. */
  readonly tool?: string | undefined;
  readonly text: string;
  /** Milliseconds since 1970. */
  readonly at?: number | undefined;
}

/** The last messages of a conversation, oldest first. */
export interface PageTranscript {
  readonly client: string;
  readonly messages: readonly PageMessage[];
}

export interface PageCheck {
  readonly result: "ok" | "warn" | "fail" | "skip";
  readonly message: string;
  readonly remedy?: string | undefined;
}

export interface PageSetting {
  readonly key: string;
  /** As JSON. A secret is masked before it comes here. */
  readonly value: string;
  readonly origin: string;
}

export interface PageQuestion {
  readonly client: string;
  readonly channel: string;
  readonly text: string;
  readonly signal: AbortSignal;
}

export interface PageAnswerPart {
  readonly text: string;
  /** The parts before it do not count. */
  readonly restart?: boolean;
  /** Why there is no answer, or no more of it. */
  readonly error?: string | undefined;
}

/** Where the page takes what it shows. Each may throw a `Failure`, whose message and remedy are shown. */
export interface PageSources {
  readonly status: () => Promise<GatewayStatus>;
  /** The one used last comes first. */
  readonly conversations: () => Promise<readonly PageConversation[]>;
  /** Undefined for an unknown name. */
  readonly conversation: (name: string) => Promise<PageTranscript | undefined>;
  /** Ends when the answer is complete. */
  readonly ask: (question: PageQuestion) => AsyncIterable<PageAnswerPart>;
  readonly checks: (signal: AbortSignal) => Promise<readonly PageCheck[]>;
  readonly settings: () => Promise<readonly PageSetting[]>;
}
