import { escapeControl } from "../../base/escape-control.ts";
import type { Host, Output } from "../../base/host.ts";
import type { Config } from "../../config/contract.ts";
import { isColoured } from "./colour.ts";
import { fitted } from "./width.ts";

/** A line on stderr that says how long an answer has been waited for. */
export interface Spinner {
  /** Whether it is ever shown: only on a terminal that can erase it. */
  readonly isShown: boolean;
  /** The streams of the command; what is written to them erases the line first. */
  readonly stdout: Output;
  readonly stderr: Output;
  /** Shows the line after a moment, until `stop` or the first text on stdout. */
  readonly start: (label: string) => void;
  readonly stop: () => Promise<void>;
}

const FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";
const FRAME_MS = 120;
/** An answer that comes sooner needs no line. */
const DELAY_MS = 300;
const ERASE = "\r\u001b[K";

export function createSpinner(
  { stdout, stderr, env }: Pick<Host, "stdout" | "stderr" | "env">,
  flags: { has(name: "json" | "no-color" | "debug"): boolean },
): Spinner {
  // The log of --debug is enough to see, and would tear the line.
  const isShown = isColoured(stderr, env, flags) && !flags.has("debug");
  let timer: ReturnType<typeof setInterval> | undefined;
  let isDrawn = false;
  const erase = async (): Promise<void> => {
    if (!isDrawn) return;
    isDrawn = false;
    await stderr.write(ERASE);
  };
  const stop = async (): Promise<void> => {
    clearInterval(timer);
    await erase();
  };
  return {
    isShown,
    stdout: withStep(stdout, stop),
    stderr: withStep(stderr, erase),
    start(label) {
      if (!isShown) return;
      clearInterval(timer);
      const begun = performance.now();
      timer = setInterval(() => {
        const ms = performance.now() - begun;
        if (ms < DELAY_MS) return;
        isDrawn = true;
        const frame = FRAMES[Math.floor(ms / FRAME_MS) % FRAMES.length];
        const line = `${frame} ${label} · ${Math.floor(ms / 1000)} s`;
        void stderr.write(`${ERASE}${fitted(line, stderr.columns - 1)}`);
      }, FRAME_MS);
    },
    stop,
  };
}

/** The output, with something to be done before each text. */
function withStep(output: Output, before: () => Promise<void>): Output {
  return {
    get isTTY() {
      return output.isTTY;
    },
    get columns() {
      return output.columns;
    },
    closed: output.closed,
    async write(text) {
      await before();
      await output.write(text);
    },
  };
}

/** The model of this configuration, as people read it. */
export function modelName({ agents }: Pick<Config, "agents">): string {
  return escapeControl(agents.defaults.model_name || "offline agent");
}
