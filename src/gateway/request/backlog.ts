import { contentLength } from "../../base/request-extras.ts";
import type { ChannelPolicy } from "../channel-policy.ts";
import type { Request } from "../contract.ts";

/** What the backlog needs of a request. */
export type Counted = Pick<Request, "channel" | "durable" | "text" | "extras">;

/** Requests of QoS 0 and the UTF-16 units of their texts and extras, whatever the configuration says. */
const IN_MEMORY = 1024;
const CHARACTERS = 8 * 2 ** 20;
/** Requests in the store: each costs a few hundred bytes of memory. */
const IN_STORE = 65_536;
/** The duration of a turn before the first one has ended. */
const FIRST_GUESS_MS = 2000;
/** The weight of the latest turn in the average. */
const WEIGHT = 0.2;
const LONGEST_SECONDS = 600;
const MAX_TURNS_AHEAD = 4;

/**
 * Counts the requests that are accepted and neither run nor are delivered. Estimates when there may be room
 * for more, from the duration of recent turns.
 */
export class Backlog {
  readonly #queued: number;
  readonly #slots: number;
  readonly #byChannel = new Map<string, number>();
  #stored = 0;
  #inMemory = 0;
  #characters = 0;
  #averageMs = FIRST_GUESS_MS;

  /** `queued` is the configured limit in all; 0 sets no limit besides the program's own. */
  constructor({ queued, slots }: { readonly queued: number; readonly slots: number }) {
    this.#queued = queued;
    this.#slots = slots;
  }

  enter(request: Counted): void {
    this.#change(request, 1);
  }

  leave(request: Counted): void {
    this.#change(request, -1);
  }

  /** The request's turn took so long; its answer waits for the delivery. */
  turnEnded(request: Counted, ms: number): void {
    this.#averageMs += (ms - this.#averageMs) * WEIGHT;
    this.enter(request);
  }

  /** Whether one more request fits; `waiting` is the number of waiting requests of its client. */
  hasRoom(request: Counted, policy: ChannelPolicy, waiting: number): boolean {
    const { channel, durable } = request;
    const fits = durable
      ? this.#stored < IN_STORE
      : this.#inMemory < IN_MEMORY && this.#characters + contentLength(request) <= CHARACTERS;
    return (
      fits &&
      isBelow(this.#stored + this.#inMemory, this.#queued) &&
      isBelow(waiting, policy.limits.queued) &&
      isBelow(this.#byChannel.get(channel) ?? 0, policy.totalLimits.queued)
    );
  }

  /** Turns that will probably end within so many milliseconds if all slots are busy; a few for each slot at most. */
  turnsWithin(ms: number): number {
    return Math.floor(this.#slots * Math.min(ms / this.#averageMs, MAX_TURNS_AHEAD));
  }

  /** Seconds, at least 1, until each of `clients` had a turn. */
  secondsUntilRoom(clients: number): number {
    const turns = Math.max(clients, this.#slots);
    const seconds = Math.ceil(((this.#averageMs / 1000) * turns) / this.#slots);
    return Math.min(Math.max(seconds, 1), LONGEST_SECONDS);
  }

  #change(request: Counted, by: 1 | -1): void {
    const { channel, durable } = request;
    if (durable) this.#stored += by;
    else {
      this.#inMemory += by;
      this.#characters += by * contentLength(request);
    }
    this.#byChannel.set(channel, (this.#byChannel.get(channel) ?? 0) + by);
  }
}

/** 0 is no limit. */
function isBelow(count: number, limit: number): boolean {
  return limit === 0 || count < limit;
}
