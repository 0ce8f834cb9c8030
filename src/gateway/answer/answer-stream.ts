import type { Part } from "../../base/contract.ts";
import { failpoint } from "../../base/failpoint.ts";
import type { Failure } from "../../base/failure.ts";
import { asFailure } from "../../base/failure.ts";
import { withoutHalfCharacter } from "../../base/truncate.ts";
import type { StoredAnswer } from "../../store/contract/store.ts";
import type { Clock } from "../clock.ts";
import type { Request } from "../contract.ts";
import { wireFailure } from "../errors.ts";
import { isPush, laneOf } from "../request-keys.ts";

export interface AnswerStreamOptions {
  readonly clock: Pick<Clock, "now" | "after">;
  /** The least time between parts, and between the first text and the first part. */
  readonly intervalMs: number;
  /** The longest time without a part before the end: an empty part follows. Absent or 0 is no limit. */
  readonly progressMs?: number;
}

/**
 * A growing answer with any number of readers, each at its own pace. It holds timers only while text waits for
 * the next part, or a reader waits for text.
 */
export class AnswerStream {
  /** Where the answer is or will be delivered. */
  readonly addresses = new Set<string>();
  /** The failure that the answer ended with. */
  failure: Failure | undefined;
  /** UTF-16 units of the text so far. */
  length = 0;
  readonly #options: AnswerStreamOptions;
  readonly #parts: Part[] = [];
  /** Wakes the readers that have seen every part. */
  #waiting: (() => void)[] = [];
  /** One of them streams: the next part is cut for it. */
  #isStreaming = false;
  #pending = "";
  #since: number | undefined;
  #closed = false;
  /** The last parts, until `release` shows them. */
  #ending: Part[] = [];
  #released = false;
  #abandoned = false;
  #cancelTimer: (() => void) | undefined;
  #cancelProgress: (() => void) | undefined;

  constructor(options: AnswerStreamOptions) {
    this.#options = options;
  }

  /** The text so far, joined at each call. */
  get text(): string {
    return textsOf(this.#parts).join("") + this.#pending;
  }

  /** Adds text; ignored after `close`. */
  push(text: string): void {
    if (this.#closed || text === "") return;
    this.#since ??= this.#options.clock.now();
    this.#pending += text;
    this.length += text.length;
    this.#cutInTime();
  }

  /**
   * Ends the text: the rest becomes the last part, and the sentence of a failure becomes a part of its own.
   * Returns the texts of all parts without that sentence. Readers see the end at `release`, so that the
   * answer can be stored first.
   */
  close(failure?: Failure): readonly string[] {
    if (!this.#closed) {
      this.#closed = true;
      this.#endProgress();
      this.#cancelTimer?.();
      this.#cancelTimer = undefined;
      this.failure = failure;
      this.#ending = lastParts(this.#pending, failure);
      this.#pending = "";
    }
    return textsOf([...this.#parts, ...this.#ending]);
  }

  /** Shows readers the end of a closed answer. */
  release(): void {
    if (!this.#closed || this.#released) return;
    this.#released = true;
    this.#add(...this.#ending);
  }

  /** Closes and releases. */
  finish(failure?: Failure): void {
    this.close(failure);
    this.release();
  }

  /** The answer gets no end in this process: its readers stop where they are. */
  abandon(): void {
    this.#closed = true;
    this.#abandoned = true;
    this.#add();
  }

  /** Drops the text that no reader has seen. */
  clear(): void {
    this.#pending = "";
  }

  /** Fills an empty answer with the parts of a stored one, as they were. */
  restore({ parts, failure }: StoredAnswer): void {
    this.#parts.push(...parts.slice(0, -1).map((text) => ({ text })));
    this.length = parts.reduce((sum, text) => sum + text.length, 0);
    this.#pending = parts.at(-1) ?? "";
    this.finish(failure && wireFailure(failure));
  }

  /**
   * The part of that number, as soon as it is there; undefined when the answer was abandoned. While all readers
   * are busy with earlier parts, text is collected for the next part: that is the back-pressure.
   */
  async part(index: number): Promise<Part | undefined> {
    while (this.#parts.length <= index && !this.#abandoned) {
      this.#isStreaming = true;
      this.#startProgress();
      await this.#more();
    }
    return this.#parts[index];
  }

  /**
   * The whole answer as one part, at its end; undefined when it was abandoned. Of a failed answer it is the
   * error alone, without the text before it.
   */
  async whole(): Promise<Part | undefined> {
    while (!this.#released && !this.#abandoned) await this.#more();
    if (!this.#released) return undefined;
    const last = this.#parts.at(-1);
    return last?.error === undefined ? { text: this.text, done: true } : last;
  }

  #more(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push(resolve);
    this.#cutInTime();
    return promise;
  }

  /** A reader waits: it gets a part in time, an empty one if there is no text until then. */
  #startProgress(): void {
    const { clock, progressMs = 0 } = this.#options;
    if (progressMs === 0 || this.#closed || this.#cancelProgress !== undefined) return;
    this.#cancelProgress = clock.after(progressMs, () => this.#cut());
  }

  #endProgress(): void {
    this.#cancelProgress?.();
    this.#cancelProgress = undefined;
  }

  #cutInTime(): void {
    // Checked last and once a part, because it copies the collected text.
    if (!this.#isStreaming || this.#cancelTimer !== undefined || this.#since === undefined) return;
    if (withoutHalfCharacter(this.#pending) === "") return;
    const { clock, intervalMs } = this.#options;
    const rest = this.#since + intervalMs - clock.now();
    if (rest <= 0) this.#cut();
    else this.#cancelTimer = clock.after(rest, () => this.#cut());
  }

  #cut(): void {
    const text = withoutHalfCharacter(this.#pending);
    this.#pending = this.#pending.slice(text.length);
    this.#since = this.#options.clock.now();
    this.#add({ text });
  }

  #add(...parts: Part[]): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#endProgress();
    this.#parts.push(...parts);
    const woken = this.#waiting;
    this.#waiting = [];
    this.#isStreaming = false;
    for (const wake of woken) wake();
  }
}

/** An answer from the store. */
export function restoredAnswer(
  stored: StoredAnswer,
  clock: AnswerStreamOptions["clock"],
): AnswerStream {
  const answer = new AnswerStream({ clock, intervalMs: 0 });
  answer.restore(stored);
  return answer;
}

/** An answer in the form of the store. */
export function storedAnswerOf(parts: readonly string[], failure?: Failure): StoredAnswer {
  if (failure === undefined) return { parts };
  const { code, message, retryAfter } = failure;
  return { parts, failure: { code, message, retryAfter } };
}

/** The texts of parts, without the sentence of a failure. */
function textsOf(parts: readonly Part[]): string[] {
  return parts.flatMap(({ text, error }) => (error === undefined ? [text] : []));
}

function lastParts(rest: string, failure: Failure | undefined): Part[] {
  if (failure === undefined) return [{ text: rest, done: true }];
  const error: Part = { text: failure.message, done: true, error: failure };
  return rest === "" ? [error] : [{ text: rest }, error];
}

/** The delivery of an answer to one address. */
export interface Delivery {
  /** Parts handed to the transport so far. */
  readonly parts: number;
  /** On the clock: when the first of them was handed over. */
  readonly firstAt: number | undefined;
  /** Why the remaining parts can never be delivered. */
  readonly failure: Failure | undefined;
  /** Resolves when the last part was delivered, or when a part can never be. Never rejects. */
  readonly finished: Promise<void>;
}

/** A push without a text is not sent: there was nothing to tell. */
function isSilent(request: Pick<Request, "address">, { text, error }: Part): boolean {
  return isPush(request) && text === "" && error === undefined;
}

/**
 * Delivers an answer part by part, each after the one before. `flush` delivers the answers that wait for a
 * lane: they go first.
 */
export function deliver(
  request: Pick<Request, "stream" | "reply" | "durable" | "address" | "channel" | "client">,
  answer: AnswerStream,
  clock: Pick<Clock, "now">,
  flush?: (lane: string) => Promise<void> | undefined,
): Delivery {
  const { stream, durable, address } = request;
  const run = async (): Promise<void> => {
    answer.addresses.add(address);
    try {
      for (let isOver = false; !isOver;) {
        const part = await (stream ? answer.part(delivery.parts) : answer.whole());
        if (part === undefined || isSilent(request, part)) break;
        delivery.firstAt ??= clock.now();
        delivery.parts += 1;
        if (delivery.parts === 1) await flush?.(laneOf(request));
        await request.reply(part);
        if (durable) failpoint(part.done ? "published" : "streaming");
        isOver = part.done ?? false;
      }
    } catch (thrown) {
      // The text is useless without the lost part: the rest is not sent.
      delivery.failure = asFailure(thrown);
    }
    // When the client cannot be reached any more, the same request may come again and join.
    answer.addresses.delete(address);
  };
  const delivery: { -readonly [Key in keyof Delivery]: Delivery[Key] } = {
    parts: 0,
    firstAt: undefined,
    failure: undefined,
    finished: Promise.resolve(),
  };
  delivery.finished = run();
  return delivery;
}
