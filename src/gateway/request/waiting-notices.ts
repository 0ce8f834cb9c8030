import { createSerialQueue } from "../../base/async.ts";
import type { ChannelPolicy } from "../channel-policy.ts";
import type { Clock } from "../clock.ts";
import type { Request } from "../contract.ts";

/** A request that waits for its turn. */
interface Waiting {
  readonly channel: string;
  /** On the clock. */
  readonly acceptedAt: number;
  /** Sends a part unless the part before it is still being sent; undefined before the first notice. */
  notice?: () => void;
}

export interface WaitingNoticesOptions<Item extends Waiting> {
  readonly clock: Pick<Clock, "now" | "after">;
  readonly policies: ReadonlyMap<string, Pick<ChannelPolicy, "progressMs">>;
  /** All that wait now. */
  readonly waiting: () => Iterable<Item>;
  /**
   * Opens the way back of an item: from now on all its replies go through `inOrder`. Undefined if it was started
   * meanwhile, or gets no parts. Does not reject.
   */
  readonly open: (item: Item) => Promise<Request | undefined>;
}

/** Requests that get notices at a time: those of a larger flood only wait. */
const MAX_NOTICES = 1024;

/**
 * Sends empty parts to requests that wait for their turn, in rounds. The first one comes within one and a half
 * `progressMs`, the others once in it. Holds one timer while requests wait.
 */
export class WaitingNotices<Item extends Waiting> {
  readonly #options: WaitingNoticesOptions<Item>;
  readonly #everyMs: number;
  #cancelTimer: (() => void) | undefined;
  #isClosed = false;

  constructor(options: WaitingNoticesOptions<Item>) {
    this.#options = options;
    const times = [...options.policies.values()].map(({ progressMs }) => progressMs);
    this.#everyMs = Math.min(...times.filter((ms) => ms > 0));
  }

  /** A request waits. */
  start(): void {
    if (this.#isClosed || this.#cancelTimer !== undefined || this.#everyMs === Infinity) return;
    this.#cancelTimer = this.#options.clock.after(this.#everyMs, () => void this.#round());
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelTimer?.();
  }

  async #round(): Promise<void> {
    const { clock, policies, waiting, open } = this.#options;
    const before = clock.now() - this.#everyMs / 2;
    const due: Item[] = [];
    let hasMore = false;
    for (const item of waiting()) {
      hasMore = true;
      if (due.length === MAX_NOTICES) break;
      const isSilent = policies.get(item.channel)?.progressMs === 0;
      if (item.acceptedAt <= before && !isSilent) due.push(item);
    }
    this.#cancelTimer = undefined;
    if (hasMore) this.start();
    for (const item of due) {
      if (item.notice === undefined) {
        const request = await open(item);
        if (request !== undefined) item.notice = noticeOf(request);
      }
      item.notice?.();
    }
  }
}

function noticeOf(request: Request): () => void {
  let isSending = false;
  return () => {
    if (isSending) return;
    isSending = true;
    // Its failure is that of the answer, too, which is told then.
    const sent = request.reply({ text: "" }).catch(() => {});
    void sent.then(() => {
      isSending = false;
    });
  };
}

/** The same request; each reply waits for the one before it. */
export function inOrder(request: Request): Request {
  const serially = createSerialQueue();
  return { ...request, reply: (part) => serially(() => request.reply(part)) };
}
