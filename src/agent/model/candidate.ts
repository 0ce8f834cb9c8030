import { startDeadline } from "../../base/async.ts";
import type { Log } from "../../base/log.ts";
import type { Prices } from "../../config/contract.ts";
import type { StartedStream } from "../contract.ts";
import { callTokens } from "./call-tokens.ts";
import type { EntryWindow } from "./context-window.ts";
import type { ModelCall, Protocol, Reply } from "./contract.ts";
import { classOf, cleanMessage, isKeyError, isTransient, ModelError } from "./errors.ts";
import type { ErrorClass } from "./errors.ts";
import { hasImages } from "./http/image-refusal.ts";
import type { EntryMemory } from "./memory.ts";
import type { Rate } from "./rate.ts";
import { beginSpending } from "./spending.ts";

/** A model by its names. */
export interface ModelName {
  /** Its `model_name`. */
  readonly name: string;
  /** The protocol's name. */
  readonly provider: string;
  /** The name that its server expects. */
  readonly model: string;
}

/** A reply that has begun: its first step is there, so no other model may be asked for it. */
export interface StartedReply extends StartedStream<Reply> {
  /** Takes the whole reply. */
  readonly succeeded: (reply: Reply) => void;
  /** Takes what `rest` threw; returns it if the model failed, and throws everything else. */
  readonly failed: (thrown: unknown) => ModelError;
  /** Ends the HTTP request, also in the middle. Must be called. */
  readonly end: () => void;
}

export interface CandidateOptions {
  readonly name: ModelName;
  /** For the log and for failures: `model_list "gpt"`. */
  readonly label: string;
  /** Texts that are masked in a provider's messages: keys, values of secret headers. */
  readonly secrets: readonly string[];
  /** Names of `model_list` to ask, in order, when this one fails. */
  readonly fallbacks: readonly string[];
  readonly rate: Rate;
  readonly window: EntryWindow;
  readonly memory: EntryMemory;
  /** Asks the server for its window; absent if it does not tell. Never rejects. */
  readonly askWindow?: () => Promise<void>;
  readonly protocol: Protocol;
  readonly keys: readonly string[];
  /** Absent if costs are not counted. */
  readonly prices?: Prices | undefined;
  /** Seconds of silence, before the answer begins and within it; 0 is the default. */
  readonly request_timeout: number;
  readonly now: () => number;
  readonly log: Log;
}

const DEFAULT_TIMEOUT = 120;
/** Times that limit: how long a server may send keep-alives (blanks, comments) without a chunk of an answer. */
const KEEP_ALIVE_FACTOR = 3;
/** Parts of one call that a server may refuse, one after the other. */
const MAX_REFUSED = 5;

/** The part of the memory that says whether the model takes tools. */
const TOOLS = "tools";

type Cooldown = ReturnType<typeof createCooldown>;

/** An API key. */
interface Key {
  /** Undefined if the server needs none. */
  readonly text: string | undefined;
  readonly cooldown: Cooldown;
}

/** One entry of `model_list` that can be asked, with its recent successes and failures. */
export class Candidate {
  readonly name: ModelName;
  readonly label: string;
  readonly secrets: readonly string[];
  readonly fallbacks: readonly string[];
  readonly rate: Rate;
  readonly window: EntryWindow;
  readonly #options: CandidateOptions;
  readonly #keys: readonly Key[];
  /** The index of the key with which the next call begins. */
  #next = 0;
  /** Of the endpoint; each key has its own. */
  readonly #cooldown: Cooldown;
  /** The question for the server's window, after the first call. */
  #windowAsked: Promise<void> | undefined;
  /** When the model refused images, and until when no image is sent; a server may get another model. */
  #imageRefusal: { readonly error: ModelError; readonly endsAt: number } | undefined;

  constructor(options: CandidateOptions) {
    this.name = options.name;
    this.label = options.label;
    this.secrets = options.secrets;
    this.fallbacks = options.fallbacks;
    this.rate = options.rate;
    this.window = options.window;
    this.#options = options;
    const texts = options.keys.length === 0 ? [undefined] : [...new Set(options.keys)];
    this.#keys = texts.map((text) => ({ text, cooldown: createCooldown(options.now) }));
    this.#cooldown = createCooldown(options.now);
  }

  /** When its cooldown ends, by the clock of its options; in the past if it has none. */
  endsAt(): number {
    const firstKey = Math.min(...this.#keys.map(({ cooldown }) => cooldown.endsAt()));
    return Math.max(this.#cooldown.endsAt(), firstKey);
  }

  /** Resolves when nothing is asked of the server beside its answers. */
  async idle(): Promise<void> {
    await this.#windowAsked;
  }

  /** Ends all cooldowns. */
  clearCooldown(): void {
    this.#cooldown.succeeded();
    for (const { cooldown } of this.#keys) cooldown.succeeded();
  }

  /**
   * Calls the model until the first step of its reply is there, within its deadline. Tries one key after
   * the other while the server refuses keys; as a last resort also the keys that cool down. The caller
   * has taken a slot of `rate`. Throws what is not the provider's fault: the reason of an abort, and what
   * `rate` throws.
   */
  async start(call: ModelCall, isLastResort: boolean): Promise<StartedReply | ModelError> {
    const loading = this.#options.memory.load();
    if (loading !== undefined) await loading;
    const known = this.#knownError(call);
    if (known !== undefined) return known;
    const failed: ModelError[] = [];
    for (const key of this.#keysToTry(isLastResort)) {
      if (failed.length > 0) await this.rate.take(call.signal);
      const outcome = await this.#startAdapting(call, key);
      // Beside the answer, and after its first step: only then a local server has loaded the model.
      this.#windowAsked ??= this.#options.askWindow?.();
      if (!(outcome instanceof ModelError)) return outcome;
      this.#remember(key, outcome);
      if (!isKeyError(outcome)) return outcome;
      failed.push(outcome);
    }
    // A key that may work again soon says more than one that never will.
    const reported = failed.find(isTransient) ?? failed[0];
    return reported ?? new ModelError("unreachable", "no key to ask with");
  }

  /** The error that a call would end with, if that is known before it is sent. */
  #knownError(call: ModelCall): ModelError | undefined {
    if (call.canShorten === true && !this.window.fits(callTokens(call))) {
      return new ModelError(
        "unsent",
        `the call does not fit into ${this.window.current().tokens} tokens`,
      );
    }
    const refusal = this.#imageRefusal;
    if (refusal !== undefined && this.#options.now() < refusal.endsAt && hasImages(call)) {
      return refusal.error;
    }
    return undefined;
  }

  /**
   * The keys to try now, in order, at least one: each call begins with the next one. Keys that cool down come
   * last, by the end of their cooldown, and only as a last resort or if all cool down.
   */
  #keysToTry(isLastResort: boolean): readonly Key[] {
    const now = this.#options.now();
    const rotated = [...this.#keys.slice(this.#next), ...this.#keys.slice(0, this.#next)];
    this.#next = (this.#next + 1) % this.#keys.length;
    const ready = rotated.filter(({ cooldown }) => cooldown.endsAt() <= now);
    if (ready.length > 0 && !isLastResort) return ready;
    const cooling = rotated.filter(({ cooldown }) => cooldown.endsAt() > now);
    cooling.sort((left, right) => left.cooldown.endsAt() - right.cooldown.endsAt());
    return [...ready, ...cooling];
  }

  /**
   * Calls with one key. Calls again, and from then on always, without what the server refused: a parameter, or
   * the tools of a model that takes none.
   */
  async #startAdapting(call: ModelCall, key: Key): Promise<StartedReply | ModelError> {
    const { label: model, log, memory } = this.#options;
    for (let times = 0; ; times += 1) {
      const takesTools = memory.get(TOOLS) !== false;
      const sent = takesTools ? call : withoutTools(call);
      const outcome = await this.#startOnce(sent, key);
      if (!(outcome instanceof ModelError) || times === MAX_REFUSED) return outcome;
      if (outcome.kind === "overflow") {
        this.window.exceeded(callTokens(sent).all, outcome.message);
      }
      if (outcome.kind === "toolless" && sent.tools.length > 0) {
        log.warn("the model supports no tools; it is called without them", { model });
        memory.set(TOOLS, false);
      } else if (outcome.kind === "parameter") {
        const why = cleanMessage(outcome.message, this.secrets);
        const what =
          "the server refused a parameter; from now on calls are without it, or as the server asks";
        log.warn(what, { model, why });
      } else return outcome;
      await this.rate.take(call.signal);
    }
  }

  /** One HTTP request, until the first step of its reply. */
  async #startOnce(call: ModelCall, key: Key): Promise<StartedReply | ModelError> {
    const { protocol, request_timeout: timeout } = this.#options;
    call.signal.throwIfAborted();
    const spending = beginSpending(call, this.#options);
    const limits = startLimits(call.signal, timeout);
    const rest = protocol({
      call,
      key: key.text,
      signal: limits.signal,
      onActivity: limits.onActivity,
      onChunk(text) {
        spending?.onChunk(text);
        limits.onChunk();
      },
    });
    const failed = (thrown: unknown): ModelError => {
      call.signal.throwIfAborted();
      if (!(thrown instanceof ModelError)) throw thrown;
      spending?.onError(thrown);
      return thrown;
    };
    const end = (): void => {
      spending?.end();
      limits.close();
    };
    try {
      return {
        first: await rest.next(),
        rest,
        succeeded: (reply) => {
          spending?.onReply(reply);
          this.#measure(call, reply);
          this.#remember(key, reply);
        },
        failed: (thrown) => {
          const error = failed(thrown);
          this.#remember(key, error);
          return error;
        },
        end,
      };
    } catch (thrown) {
      try {
        return failed(thrown);
      } finally {
        end();
      }
    }
  }

  /** Compares the server's count of a call with the estimate. */
  #measure(call: ModelCall, { usage }: Reply): void {
    if (usage === undefined) return;
    const { label: model, log } = this.#options;
    const cut = this.window.measured(callTokens(call), usage.inputTokens);
    if (cut === undefined) return;
    const what =
      "the server has cut the conversation in silence; from now on it gets less of it: give it a larger context (Ollama: OLLAMA_CONTEXT_LENGTH)";
    log.warn(what, { model, estimated: cut, read: usage.inputTokens });
  }

  /** Keys cool down after errors of keys, the endpoint after all others. */
  #remember(key: Key, outcome: Reply | ModelError): void {
    if (outcome instanceof ModelError) {
      if (outcome.kind === "imageless") {
        this.#imageRefusal = { error: outcome, endsAt: this.#options.now() + HOUR };
      }
      const cooldown = isKeyError(outcome) ? key.cooldown : this.#cooldown;
      cooldown.failed(classOf(outcome), outcome.retryAfter);
    } else for (const cooldown of [this.#cooldown, key.cooldown]) cooldown.succeeded();
  }
}

/** Small models, as they run on boards, often cannot call tools; they must not invent results then. */
function withoutTools(call: ModelCall): ModelCall {
  const note = "You have no tools in this conversation: say so instead of inventing measurements.";
  return { ...call, tools: [], system: `${call.system}\n${note}` };
}

/**
 * The two limits of a request: on silence, and on time without a chunk of the answer. The second one is checked
 * whenever the server sends something.
 */
function startLimits(parent: AbortSignal, timeout: number) {
  const silent = (timeout > 0 ? timeout : DEFAULT_TIMEOUT) * 1000;
  const longest = KEEP_ALIVE_FACTOR * silent;
  let chunkAt = performance.now();
  const isStuck = (): boolean => performance.now() - chunkAt >= longest;
  const deadline = startDeadline(silent, {
    parent,
    reason: (limit) =>
      isStuck() ? silence("no piece of an answer", longest) : silence("nothing", limit),
  });
  return {
    signal: deadline.signal,
    onActivity: (milliseconds?: number) => deadline.renew(isStuck() ? 0 : milliseconds),
    onChunk() {
      chunkAt = performance.now();
    },
    close: () => deadline.close(),
  };
}

function silence(what: string, milliseconds: number): ModelError {
  return new ModelError("silent", `${what} came for ${milliseconds / 1000} s`);
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** Milliseconds after the first failure in a row, the second, and so on; the last value repeats. */
const SHORT = [MINUTE, 5 * MINUTE, 25 * MINUTE, HOUR];
const LONG = [5 * HOUR, 10 * HOUR, 20 * HOUR, 24 * HOUR];

const STEPS: Readonly<Record<ErrorClass, readonly number[]>> = {
  passing: SHORT,
  rate_limit: SHORT,
  auth: LONG,
  billing: LONG,
  absent: SHORT,
  unable: [],
  final: [],
};

/** The upper bound of a provider's own wish. */
const LONGEST = 24 * HOUR;

/**
 * How long a key or an endpoint is avoided after an error; in memory only. Failures in a row lengthen the
 * cooldown. Failures of one outage count once: a failure during the cooldown does not count.
 */
export function createCooldown(now: () => number) {
  let [endsAt, failures]: [number, number] = [Number.NEGATIVE_INFINITY, 0];
  let steps: readonly number[] = [];
  return {
    /** By the clock of its maker; in the past without a cooldown. */
    endsAt: () => endsAt,
    /** `retryAfter`: seconds that the provider asked to wait. */
    failed(how: ErrorClass, retryAfter = 0): void {
      const found = STEPS[how];
      if (found.length === 0) return;
      const isSame = found === steps;
      const isKnown = isSame && now() < endsAt;
      if (!isKnown) failures = isSame ? failures + 1 : 1;
      steps = found;
      const step = isKnown ? 0 : (found[Math.min(failures, found.length) - 1] ?? 0);
      const wanted = Math.min(retryAfter * 1000, LONGEST);
      endsAt = Math.max(endsAt, now() + Math.max(step, wanted));
    },
    succeeded(): void {
      [endsAt, failures] = [Number.NEGATIVE_INFINITY, 0];
    },
  };
}
