import type { Part } from "../../base/contract.ts";
import { failpoint } from "../../base/failpoint.ts";
import type { Failure } from "../../base/failure.ts";
import { asFailure } from "../../base/failure.ts";
import type { Clock } from "../clock.ts";
import type { Request } from "../contract.ts";

/** One answer as it grows, for any number of readers, each at its own pace. */
export interface AnswerStream {
  /** More text; after the end it is ignored. */
  push(text: string): void;
  /**
   * No more text: what is left goes into the last part, and a failure says its sentence in a part of its
   * own. Gives the texts of the whole answer as they are cut, without that sentence; readers see the
   * end at `release`, so that it can be stored before anybody hears it.
   */
  close(failure?: Failure): readonly string[];
  /** Readers see the end of a closed answer. */
  release(): void;
  /** Closes and releases. */
  finish(failure?: Failure): void;
  /** The answer will have no end in this process: its readers stop where they are. */
  abandon(): void;
  /**
   * The parts from the first to the done one, as they come (`stream`) or as one. While all readers
   * are busy with earlier parts, text collects for the next: that is the back-pressure.
   */
  read(stream: boolean): AsyncGenerator<Part, void>;
  /** UTF-16 units that were pushed so far. */
  readonly length: number;
  /** What was pushed so far, put together at each look. */
  readonly text: string;
}

export interface AnswerStreamOptions {
  readonly clock: Pick<Clock, "now" | "after">;
  /** The first part comes this long after its first text, and then at most one each time. */
  readonly intervalMs: number;
}

/** An answer that was given before, in the parts in which it was cut then. */
export function restoredAnswer(
  clock: AnswerStreamOptions["clock"],
  texts: readonly string[],
  failure: Failure | undefined,
): AnswerStream {
  const answer = new GrowingAnswer({ clock, intervalMs: 0 });
  answer.restore(texts, failure);
  return answer;
}

/** An answer without a word so far; it holds a timer only while text waits for its time. */
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
  /** Readers that have seen every part. Those of them that stream are the demand that cuts one. */
  #waiting: Reader[] = [];
  #length = 0;
  #pending = "";
  #since: number | undefined;
  #closed = false;
  /** The parts that stand behind the end, until readers may see it. */
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

  /** Who wants one answer gets no half of it before an error. */
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
    // The text is looked at last and once a part, because looking copies what was collected.
    if (!wanted || this.#cancelTimer !== undefined || this.#since === undefined) return;
    if (wholeCharacters(this.#pending) === "") return;
    const { clock, intervalMs } = this.#options;
    const rest = this.#since + intervalMs - clock.now();
    if (rest <= 0) this.#cut();
    else this.#cancelTimer = clock.after(rest, () => this.#cut());
  }

  #cut(): void {
    const text = wholeCharacters(this.#pending);
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

/** The text without the first half of a character whose second half is still to come. */
function wholeCharacters(text: string): string {
  const last = text.charCodeAt(text.length - 1);
  return last >= 0xd800 && last <= 0xdbff ? text.slice(0, -1) : text;
}

/** An answer on its way to one asker. */
export interface Delivery {
  /** Parts handed to the transport so far. */
  readonly parts: number;
  /** When the first of them was, on the clock. */
  readonly firstAt: number | undefined;
  /** Why the rest can never be delivered. */
  readonly failure: Failure | undefined;
  /** Resolves when the last part was delivered or one of them never can be. Never rejects. */
  readonly finished: Promise<void>;
}

/** Hands an answer's parts to the asker, each when the one before was delivered. */
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
      // A part that is lost leaves a hole that no later part can fill: the rest is not sent.
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
