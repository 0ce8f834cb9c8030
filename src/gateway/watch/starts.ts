import { createHash } from "node:crypto";
import { createSerialQueue } from "../../base/async.ts";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { at } from "../../base/unknown.ts";
import type { Counter, CounterStore } from "../../store/contract.ts";
import type { Clock } from "../clock.ts";
import type { Push } from "../contract.ts";
import { WATCH_COUNTER } from "../usage/accounts.ts";
import type { WatchMatch, WatchRule } from "./contract.ts";

export interface StartsOptions {
  readonly store: CounterStore;
  readonly push: (push: Push) => Promise<"accepted" | "known">;
  readonly clock: Clock;
  readonly log: Log;
}

const HOUR_MS = 3_600_000;
/** Turns in an hour: of one watch, and of all. */
const MOST_OF_ONE = 20;
const MOST_OF_ALL = 60;
/** Matches that wait for the store; over it they are dropped. */
const MOST_WAITING = MOST_OF_ALL;
/** Cooldowns in memory; the store has all. */
const MOST_COOLDOWNS = 20_000;
/** Milliseconds after which a match tries again for which the store did not answer. */
const RETRY_MS = 10_000;
/** Milliseconds after which a push is tried again that found the gateway busy. */
const AGAIN_MS = [2_000, 10_000, 60_000] as const;
const ALL = `${WATCH_COUNTER}starts`;

/** The turns of an hour that a watch, or all of them, have started; the hour begins with the first. */
interface Hour {
  readonly since: number;
  readonly starts: number;
}

interface StartingWatch extends WatchRule {
  /** The same at each start for the same conditions. */
  readonly id: string;
  /** The counter of its hour. */
  readonly starts: string;
}

/**
 * Starts the turns of watches: within the cooldown of a topic one, and a bounded number in an hour. The store
 * remembers both. Several gateways that share it start one turn for a message: the id of its push names the watch, the
 * topic, and the time in steps of the cooldown.
 */
export class Starts {
  readonly #options: StartsOptions;
  /** When the cooldown of a watch and a topic ends. */
  readonly #cooldowns = new Map<string, number>();
  /** When the hour ends in which a watch, or all, may start no more. */
  readonly #fullUntil = new Map<string, number>();
  readonly #inTurn = createSerialQueue();
  readonly #retries = new Set<() => void>();
  #waiting = 0;
  #isClosed = false;
  #started = 0;

  constructor(options: StartsOptions) {
    this.#options = options;
  }

  /** Turns since the start of the process. */
  get started(): number {
    return this.#started;
  }

  /** Returns what starts a turn of a watch, if the cooldown and the bounds allow it. */
  open(rule: WatchRule): (match: WatchMatch) => void {
    const { channel, topic, written, client } = rule;
    const id = hashOf(channel, topic, written, client);
    const watch = { ...rule, id, starts: `${ALL} ${id}` };
    return (match) => this.#match(watch, match);
  }

  #match(watch: StartingWatch, match: WatchMatch): void {
    const now = this.#options.clock.epoch();
    const key = `${watch.id} ${match.topic}`;
    if (this.#isClosed || isWithin(this.#cooldowns.get(key), now, watch.cooldownMs)) return;
    const isFull = [ALL, watch.starts].some((name) =>
      isWithin(this.#fullUntil.get(name), now, HOUR_MS),
    );
    if (isFull || this.#waiting >= MOST_WAITING) return;
    this.#cool(key, now + watch.cooldownMs);
    this.#waiting += 1;
    void this.#inTurn(() => this.#start(watch, match, key))
      .catch((thrown: unknown) => {
        this.#cool(key, now + RETRY_MS);
        const { message, why } = asFailure(thrown);
        const { topic } = match;
        this.#options.log.warn("a watched topic could not begin a turn", {
          error: message,
          why,
          topic,
        });
      })
      .finally(() => (this.#waiting -= 1));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const cancel of this.#retries) cancel();
    await this.#inTurn(() => {});
  }

  async #start(watch: StartingWatch, match: WatchMatch, key: string): Promise<void> {
    const { store, clock } = this.#options;
    const { starts, cooldownMs } = watch;
    const hash = hashOf(watch.id, match.topic);
    const name = `${WATCH_COUNTER}cooldown ${hash}`;
    const [last, own, all] = await Promise.all(
      [name, starts, ALL].map((one) => store.counter(one)),
    );
    const now = clock.epoch();
    const begun = at(last?.state, "at");
    if (typeof begun === "number" && isWithin(begun + cooldownMs, now, cooldownMs)) {
      this.#cool(key, begun + cooldownMs);
      return;
    }
    const hours = [
      { name: starts, hour: hourOf(own, now), most: MOST_OF_ONE },
      { name: ALL, hour: hourOf(all, now), most: MOST_OF_ALL },
    ];
    const full = hours.find(({ hour, most }) => hour.starts >= most);
    if (full !== undefined) {
      this.#cooldowns.delete(key);
      this.#full(full.name, full.hour, watch);
      return;
    }
    const id = `watch-${hash}-${Math.floor(now / cooldownMs)}`;
    await this.#push(pushOf(watch, match, id), match.topic);
    const counted = hours.map(({ name: one, hour }) => ({
      name: one,
      state: { since: hour.since, starts: hour.starts + 1 },
      until: hour.since + HOUR_MS,
    }));
    const cooldown = { name, state: { at: now }, until: now + cooldownMs };
    await store.count(() => ({ put: [cooldown, ...counted], drop: [] }));
  }

  /** Rejects only if the store cannot be asked. */
  async #push(push: Push, topic: string, attempt = 0): Promise<void> {
    const { log, clock } = this.#options;
    const facts = { topic, client: push.client, id: push.id };
    try {
      const result = await this.#options.push(push);
      if (result === "known") return;
      this.#started += 1;
      log.info("a watched topic begins a turn", facts);
    } catch (thrown) {
      const { code, message } = asFailure(thrown);
      const wait = code === "busy" && !this.#isClosed ? AGAIN_MS[attempt] : undefined;
      if (wait === undefined) {
        log.warn("a watched topic began no turn", { ...facts, error: message });
        return;
      }
      const cancel = clock.after(wait, () => {
        this.#retries.delete(cancel);
        void this.#push(push, topic, attempt + 1);
      });
      this.#retries.add(cancel);
    }
  }

  #cool(key: string, until: number): void {
    const [oldest] = this.#cooldowns.keys();
    if (oldest !== undefined && this.#cooldowns.size >= MOST_COOLDOWNS) {
      this.#cooldowns.delete(oldest);
    }
    this.#cooldowns.set(key, until);
  }

  /** Says so once in each such hour. */
  #full(name: string, { since, starts }: Hour, { topic, channel }: WatchRule): void {
    const until = since + HOUR_MS;
    if (this.#fullUntil.get(name) === until) return;
    this.#fullUntil.set(name, until);
    const which = name === ALL ? "all watches together" : "this watch";
    this.#options.log.warn("watched topics begin no more turns for up to an hour", {
      topic,
      channel,
      why: `${which} began ${starts} within an hour`,
      try: "narrow its `when`, or give it a longer `cooldown`",
    });
  }
}

function hashOf(...parts: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 24);
}

/** Whether a time that lasts so long has not ended; one that began in the future has: the clock was set back. */
function isWithin(end: number | undefined, now: number, lasts: number): boolean {
  return end !== undefined && end > now && end - lasts <= now;
}

function pushOf(
  { channel, client, prompt }: WatchRule,
  { topic, text }: WatchMatch,
  id: string,
): Push {
  return { channel, client, id, from: "watch", prompt, data: { source: `topic ${topic}`, text } };
}

function hourOf(counter: Counter | undefined, now: number): Hour {
  const [since, starts] = [at(counter?.state, "since"), at(counter?.state, "starts")];
  const isNow =
    typeof since === "number" &&
    typeof starts === "number" &&
    isWithin(since + HOUR_MS, now, HOUR_MS);
  return isNow ? { since, starts } : { since: now, starts: 0 };
}
