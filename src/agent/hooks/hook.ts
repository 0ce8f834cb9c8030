import { TimeoutError, withTimeout } from "../../base/async.ts";
import { messageOf } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { HookStage, ProcessHookSettings } from "../../config/contract.ts";
import { HookError } from "./process.ts";
import { startHookProcess } from "./process.ts";
import type { HookProcess } from "./process.ts";

export interface HookOptions {
  readonly settings: ProcessHookSettings;
  /** Environment variables in addition to those of the settings. */
  readonly env: Readonly<Record<string, string>>;
  /** Milliseconds for each stage, including a start of the process. */
  readonly limits: Readonly<Record<HookStage, number>>;
  readonly log: Log;
}

/** One hook of the configuration. Its process starts with the first question and runs until `close`. */
export interface Hook {
  readonly name: string;
  readonly stages: ReadonlySet<HookStage>;
  /** The result of its process. Throws a `HookError` if there is none in time, and the signal's reason. */
  ask(stage: HookStage, params: unknown, signal: AbortSignal): Promise<unknown>;
  close(): Promise<void>;
}

const HELLO_MS = 5000;
/** Milliseconds before the restart of a lost process; doubled each time, until it answers. */
const FIRST_REST_MS = 250;
const LONGEST_REST_MS = 30_000;
/** After this many unanswered questions in a row the process is ended. */
const MAX_UNANSWERED = 3;

export function createHook(options: HookOptions): Hook {
  return new ProcessHook(options);
}

class ProcessHook implements Hook {
  readonly name: string;
  readonly stages: ReadonlySet<HookStage>;
  readonly #options: HookOptions;
  readonly #closing = new AbortController();
  readonly #living = new Set<HookProcess>();
  #current: Promise<HookProcess> | undefined;
  /** Processes lost since the last answer. */
  #losses = 0;
  #restUntil = 0;
  #unanswered = 0;

  constructor(options: HookOptions) {
    this.name = options.settings.name;
    this.stages = options.settings.stages;
    this.#options = options;
  }

  async ask(stage: HookStage, params: unknown, signal: AbortSignal): Promise<unknown> {
    let asked: HookProcess | undefined;
    try {
      const result = await inTime(this.#options.limits[stage], signal, async (limit) => {
        asked = await this.#ready();
        return await asked.request(`hook.${stage}`, params, limit);
      });
      [this.#losses, this.#unanswered] = [0, 0];
      return result;
    } catch (thrown) {
      // A process need not answer for a stage that its settings do not name.
      const isSilent = thrown instanceof HookError && thrown.kind === "slow";
      if (isSilent && this.stages.has(stage)) this.#countSilence(asked);
      throw thrown;
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new HookError("died", "the program is ending"));
    await Promise.all([...this.#living].map((process) => process.stop()));
  }

  async #ready(): Promise<HookProcess> {
    this.#closing.signal.throwIfAborted();
    const rest = this.#restUntil - performance.now();
    if (this.#current === undefined && rest > 0) {
      throw new HookError("resting", `it is started again in ${Math.ceil(rest / 1000)} s`);
    }
    this.#current ??= this.#greet(this.#start());
    return await this.#current;
  }

  /** The process after it has answered the greeting. */
  async #greet(process: HookProcess): Promise<HookProcess> {
    this.#living.add(process);
    this.#unanswered = 0;
    const gone = process.gone.then((why) => this.#onEnd(process, why));
    const params = { name: this.name, version: 1, modes: modesOf(this.stages) };
    try {
      await inTime(HELLO_MS, this.#closing.signal, (signal) =>
        process.request("hook.hello", params, signal),
      );
    } catch (thrown) {
      await process.stop();
      await gone;
      throw thrown;
    }
    this.#options.log.debug("a hook has started", { hook: this.name });
    return process;
  }

  /** Starts the process. A failed start throws at once or is reported later, depending on runtime and reason. */
  #start(): HookProcess {
    const { settings, env } = this.#options;
    try {
      return startHookProcess({ ...settings, env: { ...env, ...settings.env } });
    } catch (thrown) {
      const why = messageOf(thrown);
      this.#onEnd(undefined, why);
      throw new HookError("unstartable", why);
    }
  }

  #onEnd(process: HookProcess | undefined, why: string): void {
    if (process !== undefined) this.#living.delete(process);
    this.#current = undefined;
    this.#losses += 1;
    const rest = Math.min(LONGEST_REST_MS, FIRST_REST_MS * 2 ** (this.#losses - 1));
    this.#restUntil = performance.now() + rest;
    if (this.#closing.signal.aborted) return;
    const { log } = this.#options;
    const facts = { hook: this.name, why, rest_ms: rest };
    log.warn("a hook is not running; tool calls are denied", facts);
  }

  #countSilence(process: HookProcess | undefined): void {
    if (process === undefined) return;
    this.#unanswered += 1;
    if (this.#unanswered >= MAX_UNANSWERED) void process.stop();
  }
}

/** The names of the stages in Go PicoClaw. */
function modesOf(stages: ReadonlySet<HookStage>): readonly string[] {
  const isTool = stages.has("before_tool") || stages.has("after_tool");
  return [...(isTool ? ["tool"] : []), ...(stages.has("approve_tool") ? ["approve"] : [])];
}

async function inTime<T>(
  milliseconds: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  try {
    return await withTimeout(milliseconds, signal, work);
  } catch (thrown) {
    if (thrown instanceof TimeoutError) throw new HookError("slow", `no answer ${thrown.message}`);
    throw thrown;
  }
}
