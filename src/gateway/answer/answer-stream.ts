import type { Part } from "../../base/contract.ts";
import { failpoint } from "../../base/failpoint.ts";
import type { Failure } from "../../base/failure.ts";
import { asFailure } from "../../base/failure.ts";
import { withoutHalfCharacter } from "../../base/truncate.ts";
import type { Clock } from "../clock.ts";
import type { Request } from "../contract.ts";

/** A growing answer with any number of readers, each at its own pace. */
export interface AnswerStream {
  /** Adds text; ignored after `close`. */
  push(text: string): void;
  /**
   * Ends the text: the rest becomes the last part, and the sentence of a failure becomes a part of its own.
   * Returns the texts of all parts without that sentence. Readers see the end at `release`, so that the
   * answer can be stored first.
   */
  close(failure?: Failure): readonly string[];
  /** Shows readers the end of a closed answer. */
  release(): void;
  /** Closes and releases. */
  finish(failure?: Failure): void;
  /** The answer gets no end in this process: its readers stop where they are. */
  abandon(): void;
  /**
   * The parts from the first to the done one, as they come (`stream`) or as one part. While all readers are
   * busy with earlier parts, text is collected for the next part: that is the back-pressure.
   */
  read(stream: boolean): AsyncGenerator<Part, void>;
  /** UTF-16 units of the text so far. */
  readonly length: number;
  /** The text so far, joined at each call. */
  readonly text: string;
}

export interface AnswerStreamOptions {
  readonly clock: Pick<Clock, "now" | "after">;
  /** The least time between parts, and between the first text and the first part. */
  readonly intervalMs: number;
}

/** An answer from the store, with its parts as they were. */
export function restoredAnswer(
  clock: AnswerStreamOptions["clock"],
  texts: readonly string[],
  failure: Failure | undefined,
): AnswerStream {
  const answer = new GrowingAnswer({ clock, intervalMs: 0 });
  answer.restore(texts, failure);
  return answer;
}

/** An empty answer. It holds a timer only while text waits for the next part. */
export function createAnswerStream(options: AnswerStreamOptions): AnswerStream {
  return new GrowingAnswer(options);
}

interface Reader {
  readonly stream: boolean;
  readonly wake: () => void;
}

class GrowingAnswer implements AnswerStream {
  readonly #options: AnswerStreamOptions;
  readonly #parts: Part[] = [];
  /** Readers that have seen every part. The next part is cut when one of them streams. */
  #waiting: Reader[] = [];
  #length = 0;
  #pending = "";
  #since: number | undefined;
  #closed = false;
  /** The last parts, until `release` shows them. */
  #ending: Part[] = [];
  #released = false;
  #abandoned = false;
  #cancelTimer: (() => void) | undefined;

  constructor(options: AnswerStreamOptions) {
    this.#options = options;
  }

  get length(): number {
    return this.#length;
  }

  get text(): string {
    const cut = this.#parts.filter(isText);
    return cut.map(({ text }) => text).join("") + this.#pending;
  }

  push(text: string): void {
    if (this.#closed || text === "") return;
    this.#since ??= this.#options.clock.now();
    this.#pending += text;
    this.#length += text.length;
    this.#cutInTime();
  }

  close(failure?: Failure): readonly string[] {
    if (!this.#closed) {
      this.#closed = true;
      this.#ending = lastParts(this.#pending, failure);
      this.#pending = "";
    }
    return [...this.#parts, ...this.#ending].filter(isText).map(({ text }) => text);
  }

  release(): void {
    if (!this.#closed || this.#released) return;
    this.#released = true;
    this.#add(...this.#ending);
  }

  finish(failure?: Failure): void {
    this.close(failure);
    this.release();
  }

  abandon(): void {
    this.#closed = true;
    this.#abandoned = true;
    this.#add();
  }

  restore(texts: readonly string[], failure: Failure | undefined): void {
    const rest = texts.at(-1) ?? "";
    this.#parts.push(...texts.slice(0, -1).map((text) => ({ text })));
    this.#length = texts.reduce((sum, text) => sum + text.length, 0);
    this.#pending = rest;
    this.finish(failure);
  }

  async *read(stream: boolean): AsyncGenerator<Part, void> {
    if (stream) yield* this.#asTheyCome();
    else yield* this.#asOne();
  }

  async *#asTheyCome(): AsyncGenerator<Part, void> {
    for (let next = 0; ; next++) {
      while (this.#parts.length <= next) {
        if (this.#abandoned) return;
        await this.#more(true);
      }
      const part = this.#parts[next];
      if (part !== undefined) yield part;
      if (part?.done) return;
    }
  }

  /** A reader of one whole part gets no partial text before an error. */
  async *#asOne(): AsyncGenerator<Part, void> {
    while (!this.#released) {
      if (this.#abandoned) return;
      await this.#more(false);
    }
    const last = this.#parts.at(-1);
    if (last?.error !== undefined) yield last;
    else yield { text: this.#parts.map(({ text }) => text).join(""), done: true };
  }

  #more(stream: boolean): Promise<void> {
    return new Promise((wake) => {
      this.#waiting.push({ stream, wake });
      this.#cutInTime();
    });
  }

  #cutInTime(): void {
    const wanted = this.#waiting.some(({ stream }) => stream);
    // Checked last and once a part, because it copies the collected text.
    if (!wanted || this.#cancelTimer !== undefined || this.#since === undefined) return;
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
    this.#parts.push(...parts);
    const woken = this.#waiting;
    this.#waiting = [];
    for (const { wake } of woken) wake();
  }
}

function isText({ error }: Part): boolean {
  return error === undefined;
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

/** Delivers an answer part by part, each after the one before. */
export function deliver(
  request: Pick<Request, "stream" | "reply" | "durable">,
  answer: AnswerStream,
  clock: Pick<Clock, "now">,
): Delivery {
  let parts = 0;
  let firstAt: number | undefined;
  let failure: Failure | undefined;

  const run = async (): Promise<void> => {
    try {
      for await (const part of answer.read(request.stream)) {
        firstAt ??= clock.now();
        parts++;
        await request.reply(part);
        if (request.durable) failpoint(part.done ? "published" : "streaming");
      }
    } catch (thrown) {
      // The text is useless without the lost part: the rest is not sent.
      failure = asFailure(thrown);
    }
  };
  const finished = run();
  return {
    get parts() {
      return parts;
    },
    get firstAt() {
      return firstAt;
    },
    get failure() {
      return failure;
    },
    finished,
  };
}
