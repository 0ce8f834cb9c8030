import { randomUUID } from "node:crypto";
import { abortable, onAbort } from "../../base/async.ts";
import type { Part } from "../../base/contract.ts";
import { Failure } from "../../base/failure.ts";
import { unknownChannel } from "../admission.ts";
import { isAllowed } from "../channel-policy.ts";
import type { ChannelPolicy } from "../channel-policy.ts";
import type { Request } from "../contract.ts";
import { failureOf } from "../errors.ts";

export interface AskOptions {
  readonly accept: (request: Request) => Promise<void>;
  readonly policies: ReadonlyMap<string, ChannelPolicy>;
  /** Whose limits, access lists and conversations count. */
  readonly channel: string;
}

export interface Question extends Pick<Request, "client" | "text" | "extras" | "stream"> {
  /** Aborted when nobody waits for the answer any more: its turn is cancelled. */
  readonly signal: AbortSignal;
}

/**
 * Asks as a client of the channel, once, as with QoS 0. The parts end with the one that is `done`; the next one is
 * made when this one is taken. Throws a `Failure` if there is no answer in time, or nobody waits for it.
 */
export type Ask = (question: Question) => AsyncGenerator<Part, void, undefined>;

/** Milliseconds for the queue and the turn together. */
const LONGEST_MS = 15 * 60_000;

export function createAsk({ accept, policies, channel }: AskOptions): Ask {
  return async function* ask({ signal, ...question }) {
    const policy = policies.get(channel);
    if (policy === undefined) throw unknownChannel(channel);
    // Such a client gets no second answer within a minute.
    if (!isAllowed(policy, question.client)) throw failureOf("forbidden");
    const over = new AbortController();
    const timer = setTimeout(() => over.abort(), LONGEST_MS);
    const gone = AbortSignal.any([signal, over.signal]);
    const handover = new Handover(gone);
    const id = randomUUID();
    const maxChars = policy.maxChars?.(question.client) ?? 0;
    const request: Request = {
      ...question,
      ...(maxChars > 0 && { extras: { maxChars, ...question.extras } }),
      channel,
      id,
      fingerprint: id,
      redelivered: false,
      once: true,
      address: `http ${id}`,
      durable: false,
      expiresAt: Date.now() + LONGEST_MS,
      signal: gone,
      reply: (part) => handover.put(part),
    };
    try {
      await accept(request);
      for (;;) {
        const part = await handover.take();
        yield part;
        if (part.done) return;
      }
    } finally {
      clearTimeout(timer);
      over.abort();
    }
  };
}

/** Hands parts from the gateway to a reader, one by one. */
class Handover {
  readonly #gone: AbortSignal;
  #next = Promise.withResolvers<{ readonly part: Part; readonly taken: () => void }>();

  constructor(gone: AbortSignal) {
    this.#gone = gone;
  }

  /** Resolves when the reader has taken it; rejects when that is gone. */
  put(part: Part): Promise<void> {
    return new Promise((resolve, reject) => {
      const isGone = (): void =>
        reject(new Failure("unreachable", "the client closed its connection"));
      if (this.#gone.aborted) isGone();
      const release = onAbort(this.#gone, isGone);
      const taken = (): void => {
        release();
        resolve();
      };
      this.#next.resolve({ part, taken });
    });
  }

  /** Rejects when nobody waits for the answer any more. */
  async take(): Promise<Part> {
    const { part, taken } = await abortable(this.#next.promise, this.#gone).catch(() => {
      throw failureOf("timeout");
    });
    this.#next = Promise.withResolvers();
    taken();
    return part;
  }
}
