import type { ContextWindow, WindowSource } from "./model/context-window.ts";

/** Tokens. A smaller window gets a short prompt, and few tools in a short form. */
const SMALL_WINDOW = 8_000;

/** Whether a window is known to be small. A guess never makes it small. */
export function isSmallWindow({ tokens, source }: ContextWindow): boolean {
  return source !== "guess" && tokens < SMALL_WINDOW;
}

const SOURCES: Readonly<Record<WindowSource, string>> = {
  configured: "configured",
  server: "as its server says",
  learned: "learned from a conversation that was too long",
  guess: "a guess",
};

/** What a model gets with each question, and why, in one line. */
export function promptText(window: ContextWindow): string {
  const size = isSmallWindow(window) ? "short, with few tools" : "full, with all tools";
  return `${size} (window of ${window.tokens} tokens, ${SOURCES[window.source]})`;
}
