import { createExcerpt } from "./output.ts";
import type { SessionStart } from "./sessions.ts";
import { startCommand } from "./start.ts";
import type { Running } from "./start.ts";
import { endingText } from "./words.ts";

export interface ForegroundOptions {
  /** The command is ended when it is aborted. */
  readonly signal: AbortSignal;
  /** How long it may take; what a timer can be set to at most. */
  readonly seconds: number;
  /** Where it stands as long as it runs. */
  readonly all: Set<Running>;
}

/** Runs a command to its end, or to the end of its time, and tells what it wrote. */
export async function runToEnd(start: SessionStart, options: ForegroundOptions): Promise<string> {
  const { signal, seconds, all } = options;
  signal.throwIfAborted();
  const excerpt = createExcerpt();
  const running = startCommand({
    ...start,
    hasInput: false,
    onOutput: (bytes) => excerpt.push(bytes),
  });
  all.add(running);
  let isLate = false;
  const stop = (): void => void running.stop();
  const timer = setTimeout(() => {
    isLate = true;
    stop();
  }, seconds * 1000);
  signal.addEventListener("abort", stop, { once: true });
  const ending = await running.ended;
  clearTimeout(timer);
  signal.removeEventListener("abort", stop);
  all.delete(running);
  const late = isLate
    ? `error: not done within ${seconds} s and ended; until then it wrote:\n`
    : "";
  const text = excerpt.text().trimEnd();
  return `${late}${text === "" ? "(no output)" : text}\n${endingText(ending)}`;
}
