import type { AgentDefaults } from "../../config/contract.ts";
import type { CallTokens } from "./call-tokens.ts";
import type { EntryMemory } from "./memory.ts";

/** Where the size of a context window comes from. */
export type WindowSource =
  /** `agents.defaults.context_window`. */
  | "configured"
  /** The model's server told it. */
  | "server"
  /** A conversation was too long, or was cut by the server. */
  | "learned"
  /** Nothing is known. */
  | "guess";

/** The tokens that a model can read and write in one call. */
export interface ContextWindow {
  readonly tokens: number;
  readonly source: WindowSource;
}

/** The smallest window to learn, in tokens: below it, something else than the conversation is too long. */
const LEAST_WINDOW = 2048;
/** A smaller number in a refusal is no window. */
const LEAST_NAMED = 512;
/** The smallest window to guess: a small `max_tokens` asks for short answers, and says nothing about the model. */
const LEAST_GUESS = 32_768;
/** The guess without `max_tokens`. */
const GUESS = 131_072;

/** The share of the window that stays free for an answer without `max_tokens`. */
const ANSWER_SHARE = 1 / 4;
/** The most of it, in tokens. */
const MOST_ANSWER = 4096;
/** Calls with fewer tokens say too little about a server's tokenizer, and are never cut. */
const LEAST_MEASURED = 1000;
/** A server that counts less than this share of the estimate has cut the conversation. */
const CUT_SHARE = 0.6;
/** Windows are multiples of this. */
const WINDOW_STEP = 1024;

const KNOWN = ["configured", "server", "learned"] as const;

interface WindowFacts {
  readonly memory: EntryMemory;
  /** Whether the server may cut a conversation without a word: servers of one's own do. */
  readonly mayCut: boolean;
}

type WindowDefaults = Pick<AgentDefaults, "context_window" | "max_tokens">;

/** The context window of one entry of `model_list`: the smallest that is known. */
export class EntryWindow {
  readonly #configured: number | undefined;
  readonly #memory: EntryMemory;
  readonly #guess: number;
  readonly #maxTokens: number;
  readonly #mayCut: boolean;
  /** The server's tokens of one estimated token; at least 1. */
  #scale = 1;
  /** Estimated tokens of the system prompt and the tools of the last call. */
  #prompt = 0;
  /** The last call that seemed to be cut: its estimate, and what was read of it. */
  #lastCut: { readonly all: number; readonly read: number } | undefined;

  constructor({ context_window, max_tokens }: WindowDefaults, { memory, mayCut }: WindowFacts) {
    this.#memory = memory;
    this.#guess = max_tokens === undefined ? GUESS : Math.max(LEAST_GUESS, 4 * max_tokens);
    this.#maxTokens = max_tokens ?? 0;
    this.#mayCut = mayCut;
    this.#configured = context_window > 0 ? context_window : undefined;
  }

  current(): ContextWindow {
    let smallest: ContextWindow | undefined;
    for (const source of KNOWN) {
      const tokens = this.#get(source);
      if (tokens === undefined) continue;
      if (smallest === undefined || tokens < smallest.tokens) smallest = { tokens, source };
    }
    return smallest ?? { tokens: this.#guess, source: "guess" };
  }

  #get(source: Exclude<WindowSource, "guess">): number | undefined {
    if (source === "configured") return this.#configured;
    const tokens = this.#memory.get(`window ${source}`);
    return typeof tokens === "number" && tokens > 0 ? tokens : undefined;
  }

  #set(source: "server" | "learned", tokens: number | undefined): void {
    this.#memory.set(`window ${source}`, tokens);
  }

  /** The server told its window: what was learned before gives way. */
  setByServer(tokens: number): void {
    this.#set("learned", undefined);
    this.#set("server", tokens);
  }

  /** Estimated tokens that a conversation may have, beside the prompt, the tools and the answer. */
  room(): number {
    const { tokens } = this.current();
    const room = (tokens - this.#answer(tokens)) / this.#scale - this.#prompt;
    return Math.floor(Math.max(room, tokens / 8));
  }

  /** Whether a call leaves room for an answer; true while nothing is known. */
  fits({ prompt, all }: CallTokens): boolean {
    this.#prompt = prompt;
    const { tokens, source } = this.current();
    return source === "guess" || all * this.#scale + this.#answer(tokens) <= tokens;
  }

  /** Tokens that stay free for the answer. */
  #answer(window: number): number {
    if (this.#maxTokens > 0) return Math.min(this.#maxTokens, window / 2);
    return Math.min(MOST_ANSWER, window * ANSWER_SHARE);
  }

  /** A call of so many tokens, by an estimate, was refused as too long, in these words. */
  exceeded(tokens: number, words: string): void {
    const before = this.current().tokens;
    const named = windowIn(words);
    if (named !== undefined && named <= before) {
      this.#set("server", named);
      // It did not fit, whatever the estimate says.
      this.#scale = Math.max(this.#scale, Math.min(named / tokens, 3));
      return;
    }
    const least = Math.min(before, LEAST_WINDOW);
    this.#set("learned", Math.max(least, Math.min(before, Math.floor(tokens * 0.75))));
  }

  /** A call of so many tokens was read whole: no window is smaller. */
  #widen(read: number): void {
    const learned = this.#get("learned");
    if (learned !== undefined && read > learned) this.#set("learned", read);
    if (read > (this.#get("server") ?? read)) this.#set("server", undefined);
  }

  /**
   * A server counted `read` tokens in a call. Returns the estimate, once for each window, if it must have cut the
   * call: twice in a row it read far less than the estimate, and as much though the call was longer.
   */
  measured({ all }: CallTokens, read: number): number | undefined {
    this.#widen(read);
    if (all < LEAST_MEASURED || read < LEAST_MEASURED) return undefined;
    const isShort = this.#mayCut && read < all * this.#scale * CUT_SHARE;
    if (!isShort) {
      this.#lastCut = undefined;
      this.#scale = Math.max(1, Math.min(read / all, 3));
      return undefined;
    }
    const before = this.#lastCut;
    this.#lastCut = { all, read };
    const window = Math.ceil(read / WINDOW_STEP) * WINDOW_STEP;
    const isCut = before !== undefined && all > before.all && isNear(read, before.read);
    if (!isCut || window >= this.current().tokens) return undefined;
    this.#set("learned", window);
    return all;
  }
}

/** How servers tell their window in a refusal: vLLM and OpenRouter, xAI, llama.cpp, Moonshot, Anthropic. */
const WINDOW_IN =
  /(?:maximum (?:context|prompt) length is|context size \(|token limit: |tokens > )(\d+)/;

function windowIn(words: string): number | undefined {
  const tokens = Number(WINDOW_IN.exec(words)?.[1]);
  return tokens >= LEAST_NAMED ? tokens : undefined;
}

function isNear(one: number, other: number): boolean {
  return Math.abs(one - other) < other * 0.15;
}

/** The smallest window of entries that share the calls; one that is known before one that is guessed. */
export function sharedWindow(windows: readonly EntryWindow[]): ContextWindow {
  const all = windows.map((window) => window.current());
  const known = all.filter(({ source }) => source !== "guess");
  const [first, ...others] = known.length > 0 ? known : all;
  if (first === undefined) return { tokens: GUESS, source: "guess" };
  return others.reduce((least, one) => (one.tokens < least.tokens ? one : least), first);
}
