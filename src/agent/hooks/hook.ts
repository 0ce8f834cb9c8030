import { TimeoutError, withTimeout } from "../../base/async.ts";
import { escapeControl } from "../../base/escape-control.ts";
import { messageOf } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { truncate } from "../../base/truncate.ts";
import { at, fromJson, textAt } from "../../base/unknown.ts";
import type { HookStage, ProcessHookSettings } from "../../config/contract.ts";
import { LineProcess } from "../tools/exec/line-process.ts";

export interface HookOptions {
  readonly settings: ProcessHookSettings;
  /** Environment variables in addition to those of the settings. */
  readonly env: Readonly<Record<string, string>>;
  /** Milliseconds for each stage, including a start of the process. */
  readonly limits: Readonly<Record<HookStage, number>>;
  readonly log: Log;
}

const HELLO_MS = 5000;
/** Milliseconds before the restart of a lost process; doubled each time, until it answers. */
const FIRST_REST_MS = 250;
const LONGEST_REST_MS = 30_000;
/** After this many unanswered questions in a row the process is ended. */
const MAX_UNANSWERED = 3;

/** One hook of the configuration. Its process starts with the first question and runs until `close`. */
export class Hook {
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

  /** The result of its process. Throws a `HookError` if there is none in time, and the signal's reason. */
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
      return new HookProcess({ ...settings, env: { ...env, ...settings.env } });
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

/** Why a hook did not answer. */
type HookErrorKind =
  | "unstartable"
  | "died"
  | "slow"
  | "busy"
  | "nonsense"
  /** It answered with a JSON-RPC error. */
  | "error"
  /** It waits for its restart. */
  | "resting";

/** A hook did not answer. Callers outside of this folder get a denial instead. The message is for the log. */
export class HookError extends Error {
  override readonly name = "HookError";
  readonly kind: HookErrorKind;

  constructor(kind: HookErrorKind, message: string) {
    super(message);
    this.kind = kind;
  }
}

/** The program and its arguments (no shell), its working directory and its environment. */
type HookCommand = Pick<ProcessHookSettings, "command" | "dir" | "env">;

/** Requests without an answer yet. */
const MAX_PENDING = 256;
/** Bytes of one line of output. */
const LONGEST_LINE = 2 ** 20;
/** Bytes of requests that the process has not read. */
const MAX_UNREAD = 8 * 2 ** 20;
/** Bytes of lines that are no answers, since the last answer. */
const MAX_NOISE = 4 * 2 ** 20;
/** Characters of an error in the log. */
const MAX_WORDS = 200;

/** A process that answers requests in JSON, one a line (JSON-RPC 2.0), as process hooks of Go PicoClaw. */
class HookProcess {
  /** Resolves when the process has ended or could not start, with the reason in a line for the log. */
  readonly gone: Promise<string>;
  readonly #process: LineProcess;
  readonly #pending = new Map<number, PromiseWithResolvers<unknown>>();
  #lastId = 0;
  /** Bytes of lines that were no answers, since the last answer. */
  #noise = 0;
  #over: HookError | undefined;

  /** Starts it. If it cannot start, `gone` resolves, or this throws the system's error. */
  constructor(start: HookCommand) {
    this.#process = new LineProcess({
      ...start,
      longestLine: LONGEST_LINE,
      onLine: (line) => this.#take(line),
      onTooLong: () => this.#abandon("it wrote a line without an end"),
    });
    this.gone = this.#process.gone.then(({ kind, why, text }) => {
      this.#failAll(new HookError(kind, why));
      return text;
    });
  }

  /** The result of a request. Throws a `HookError` if there is none. Never settles if the process is silent. */
  async request(method: string, params: unknown, signal: AbortSignal): Promise<unknown> {
    if (this.#over !== undefined) throw this.#over;
    if (this.#pending.size >= MAX_PENDING || this.#process.unread > MAX_UNREAD) {
      throw new HookError("busy", "it has too many unanswered questions");
    }
    this.#lastId += 1;
    const id = this.#lastId;
    const waiting = Promise.withResolvers<unknown>();
    this.#pending.set(id, waiting);
    signal.addEventListener("abort", () => this.#pending.delete(id), { once: true });
    this.#process.write(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
    return await waiting.promise;
  }

  /** Closes its input, waits, and ends the process and everything that it started. */
  stop(): Promise<void> {
    return this.#process.stop();
  }

  #failAll(fault: HookError): void {
    this.#over ??= fault;
    for (const waiting of this.#pending.values()) waiting.reject(this.#over);
    this.#pending.clear();
  }

  #abandon(why: string): void {
    this.#failAll(new HookError("nonsense", why));
    void this.stop();
  }

  #take(line: string): void {
    const message = parseLine(line);
    const id = at(message, "id");
    const waiting = typeof id === "number" ? this.#pending.get(id) : undefined;
    if (typeof id === "number" && waiting !== undefined) {
      this.#noise = 0;
      this.#pending.delete(id);
      settle(waiting, message);
      return;
    }
    this.#noise += line.length + 1;
    if (this.#noise > MAX_NOISE) this.#abandon("it wrote megabytes that are no answers");
  }
}

function settle(waiting: PromiseWithResolvers<unknown>, message: unknown): void {
  const error = at(message, "error");
  if (error !== undefined && error !== null) {
    const text = escapeControl(truncate(textAt(error, "message"), MAX_WORDS));
    waiting.reject(new HookError("error", `it answered with an error: ${text}`));
    return;
  }
  waiting.resolve(at(message, "result"));
}

function parseLine(line: string): unknown {
  try {
    return fromJson(line);
  } catch {
    return undefined;
  }
}
