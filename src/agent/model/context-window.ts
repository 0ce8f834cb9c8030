import type { AgentDefaults } from "../../config/contract.ts";

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
/** The smallest window to guess: a small `max_tokens` asks for short answers, and says nothing about the model. */
const LEAST_GUESS = 32_768;
/** The guess without `max_tokens`. */
const GUESS = 131_072;

/** The context window of one entry of `model_list`: the smallest that is known. */
export class EntryWindow {
  readonly #known = new Map<WindowSource, number>();
  readonly #guess: number;

  constructor({
    context_window,
    max_tokens,
  }: Pick<AgentDefaults, "context_window" | "max_tokens">) {
    this.#guess = max_tokens === undefined ? GUESS : Math.max(LEAST_GUESS, 4 * max_tokens);
    if (context_window > 0) this.#known.set("configured", context_window);
  }

  current(): ContextWindow {
    let smallest: ContextWindow | undefined;
    for (const [source, tokens] of this.#known) {
      if (smallest === undefined || tokens < smallest.tokens) smallest = { tokens, source };
    }
    return smallest ?? { tokens: this.#guess, source: "guess" };
  }

  /** A call of so many tokens, by an estimate, was too long. */
  exceeded(tokens: number): void {
    const before = this.current().tokens;
    const least = Math.min(before, LEAST_WINDOW);
    this.#known.set("learned", Math.max(least, Math.min(before, Math.floor(tokens * 0.75))));
  }
}

/** The smallest window of entries that share the calls; one that is known before one that is guessed. */
export function sharedWindow(windows: readonly EntryWindow[]): ContextWindow {
  const all = windows.map((window) => window.current());
  const known = all.filter(({ source }) => source !== "guess");
  const [first, ...others] = known.length > 0 ? known : all;
  if (first === undefined) return { tokens: GUESS, source: "guess" };
  return others.reduce((least, one) => (one.tokens < least.tokens ? one : least), first);
}
