import type { Client } from "aedes";
import { matchesFilter } from "../../base/topic-filter.ts";

interface HeldRequest {
  readonly sender: Client;
  readonly topic: string;
  readonly bytes: number;
}

export interface BackpressureOptions {
  /** The sessions of gateways for which a message of the topic is a request. */
  readonly gatewaysOf: (topic: string) => ReadonlySet<string>;
  readonly takesRequests: (session: string) => boolean;
  /** Adds to the memory that is counted for the client. */
  readonly hold: (client: Client, bytes: number) => void;
  /** Milliseconds without progress after which clients no longer wait for a session, until it makes some. */
  readonly stallMs: number;
}

interface WaitingRequest extends HeldRequest {
  readonly goOn: () => void;
}

/** The requests that wait for one session, in order of arrival. */
interface WaitingQueue {
  readonly waiting: Set<WaitingRequest>;
  readonly timer: NodeJS.Timeout;
  isAdmitting: boolean;
}

/** Makes clients wait that publish more requests than there is room for, by not acknowledging them. */
export class Backpressure {
  readonly #options: BackpressureOptions;
  readonly #queues = new Map<string, WaitingQueue>();
  readonly #stalled = new Set<string>();
  /** Filters to which a gateway is about to subscribe. Each stands for its session. */
  readonly #awaited = new Set<string>();

  constructor(options: BackpressureOptions) {
    this.#options = options;
  }

  /** Requests that match wait until somebody is subscribed to this filter, as for a session without room. */
  awaitSubscription(filter: string): void {
    this.#awaited.add(filter);
  }

  /** Whether a request of this topic waits for a gateway's subscription. */
  isAwaited(topic: string): boolean {
    const filter = this.#awaitedFor(topic);
    return filter !== undefined && !this.#stalled.has(filter);
  }

  /** Tells that somebody is subscribed to the filter. */
  subscribed(filter: string): void {
    if (!this.#awaited.delete(filter)) return;
    const queue = this.#queues.get(filter);
    this.#queues.delete(filter);
    this.#stalled.delete(filter);
    clearTimeout(queue?.timer);
    for (const { sender, bytes, goOn } of queue?.waiting ?? []) {
      this.#options.hold(sender, -bytes);
      goOn();
    }
  }

  /** Calls `goOn` when the request may be taken, perhaps at once; never if its sender disconnects before. */
  take(request: HeldRequest, goOn: () => void): void {
    const awaited = this.#awaitedFor(request.topic);
    const sessions = awaited === undefined ? this.#options.gatewaysOf(request.topic) : [awaited];
    const [session, ...others] = sessions;
    const takes = (each: string): boolean => !this.#queues.has(each) && !this.#mustWait(each);
    // One gateway that accepts it is enough.
    if (session === undefined || [session, ...others].some(takes)) return goOn();
    const queue = this.#queues.get(session) ?? this.#openQueue(session);
    queue.waiting.add({ ...request, goOn });
    this.#options.hold(request.sender, request.bytes);
  }

  /** Tells that the session's queue has become shorter. */
  onShorter(session: string): void {
    this.#stalled.delete(session);
    this.#queues.get(session)?.timer.refresh();
    this.#admit(session);
  }

  disconnected(sender: Client): void {
    for (const [session, { waiting }] of this.#queues) {
      for (const one of waiting) if (one.sender === sender) waiting.delete(one);
      this.#admit(session);
    }
  }

  #awaitedFor(topic: string): string | undefined {
    return this.#awaited.values().find((filter) => matchesFilter(filter, topic));
  }

  #mustWait(session: string): boolean {
    if (this.#stalled.has(session)) return false;
    return this.#awaited.has(session) || !this.#options.takesRequests(session);
  }

  #openQueue(session: string): WaitingQueue {
    const timer = setTimeout(() => {
      this.#stalled.add(session);
      this.#admit(session);
    }, this.#options.stallMs).unref();
    const queue = { waiting: new Set<WaitingRequest>(), timer, isAdmitting: false };
    this.#queues.set(session, queue);
    return queue;
  }

  #admit(session: string): void {
    const queue = this.#queues.get(session);
    const [first] = queue?.waiting ?? [];
    if (queue === undefined || queue.isAdmitting) return;
    if (first === undefined) {
      clearTimeout(queue.timer);
      this.#queues.delete(session);
    } else if (!this.#mustWait(session)) {
      this.#options.hold(first.sender, -first.bytes);
      queue.waiting.delete(first);
      queue.isAdmitting = true;
      first.goOn();
      // The next request is admitted when this one is in the session's queue.
      setImmediate(() => {
        queue.isAdmitting = false;
        this.#admit(session);
      });
    }
  }
}
