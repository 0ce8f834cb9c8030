import { createHash } from "node:crypto";
import { createSerialQueue } from "../../base/async.ts";
import { failpoint } from "../../base/failpoint.ts";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { at } from "../../base/unknown.ts";
import type { Counter, CounterChange, CounterStore } from "../../store/contract/counters.ts";
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
/** Milliseconds after which what was left to start is looked for again, if the store did not answer. */
const RETRY_MS = 10_000;
/** Milliseconds after which a match is tried again, if the store did not answer or the gateway was busy. */
const AGAIN_MS = [2_000, 10_000, 60_000] as const;
/** Milliseconds for which a stored match may still begin its turn: as long as its push is known. */
const KEPT_MS = 24 * HOUR_MS;
const ALL = `${WATCH_COUNTER}starts`;

/** The turns of an hour that a watch, or all of them, have started; the hour begins with the first. */
interface Hour {
  readonly since: number;
  readonly starts: number;
}

interface Cooldown {
  /** When it ends. */
  readonly until: number;
  /** The topic has matched again meanwhile, as the log has said. */
  hasMatched: boolean;
}

/** A match whose push is not in the store yet. */
interface StoredMatch extends WatchMatch {
  /** That of its push. */
  readonly id: string;
  readonly at: number;
}

interface StartingWatch extends WatchRule {
  /** The same at each start for the same conditions. */
  readonly id: string;
  /** The counter of its hour. */
  readonly starts: string;
}

/**
 * Starts the turns of watches: within the cooldown of a topic one, and a bounded number in an hour. The store
 * remembers both, and in the same transaction the match: if the process is killed before the push of the match is
 * stored, the next one pushes it, or another gateway that sees the same match. Several gateways that share it start one
 * turn for a message: the id of its push names the watch, the topic, and the time in steps of the cooldown.
 */
export class Starts {
  readonly #options: StartsOptions;
  /** By watch and topic. */
  readonly #cooldowns = new Map<string, Cooldown>();
  /** When the hour ends in which a watch, or all, may start no more. */
  readonly #fullUntil = new Map<string, number>();
  readonly #inTurn = createSerialQueue();
  /** How to cancel what is tried again later: matches by watch and topic, pushes by their ids, watches by theirs. */
  readonly #retries = new Map<string, () => void>();
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

  /** Returns what starts a turn of a watch, if the cooldown and the bounds allow it. Starts what was left to start. */
  open(rule: WatchRule): (match: WatchMatch) => void {
    const { channel, topic, written, client } = rule;
    const id = hashOf(channel, topic, written, client);
    const watch = { ...rule, id, starts: `${ALL} ${id}` };
    void this.#resume(watch);
    return (match) => this.#match(watch, match);
  }

  #match(watch: StartingWatch, match: WatchMatch): void {
    const now = this.#options.clock.epoch();
    const key = `${watch.id} ${match.topic}`;
    if (this.#isClosed) return;
    const cooldown = this.#cooldowns.get(key);
    if (cooldown !== undefined && isWithin(cooldown.until, now, watch.cooldownMs))
      return this.#again(cooldown, watch, match);
    const isFull = [ALL, watch.starts].some((name) =>
      isWithin(this.#fullUntil.get(name), now, HOUR_MS),
    );
    if (isFull || this.#waiting >= MOST_WAITING) return;
    this.#cool(key, now + watch.cooldownMs);
    void this.#tryStart(watch, match, key);
  }

  /** Tries again while the store does not say whether it may start. Does not reject. */
  async #tryStart(
    watch: StartingWatch,
    match: WatchMatch,
    key: string,
    attempt = 0,
  ): Promise<void> {
    this.#waiting += 1;
    try {
      await this.#inTurn(() => this.#start(watch, match, key));
    } catch (thrown) {
      const wait = this.#retries.size < MOST_WAITING ? AGAIN_MS[attempt] : undefined;
      if (wait !== undefined) {
        this.#later(key, wait, () => this.#tryStart(watch, match, key, attempt + 1));
        return;
      }
      this.#cooldowns.delete(key);
      const { message, why } = asFailure(thrown);
      const { topic } = match;
      this.#options.log.warn("a watched topic could not begin a turn", {
        error: message,
        why,
        topic,
      });
    } finally {
      this.#waiting -= 1;
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const cancel of this.#retries.values()) cancel();
    await this.#inTurn(() => {});
  }

  /** Starts what a former process, or a watch that a reload ended, has matched. Does not reject. */
  async #resume(watch: StartingWatch): Promise<void> {
    const { store, clock } = this.#options;
    await this.#inTurn(async () => {
      const stored = storedIn(await store.counter(watch.starts), clock.epoch());
      for (const match of stored) await this.#push(watch, match);
    }).catch(() => this.#later(watch.id, RETRY_MS, () => this.#resume(watch)));
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
    const stored = storedIn(own, now);
    if (typeof begun === "number" && isWithin(begun + cooldownMs, now, cooldownMs)) {
      this.#cool(key, begun + cooldownMs);
      // Whoever stored that one may have been killed before its push.
      const left = stored.find(({ topic }) => topic === match.topic);
      if (left !== undefined) await this.#push(watch, left);
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
    const { topic, text } = match;
    const found = { id: `watch-${hash}-${Math.floor(now / cooldownMs)}`, topic, text, at: now };
    const counted = hours.map(({ name: one, hour }) => ({
      name: one,
      state: {
        since: hour.since,
        starts: hour.starts + 1,
        ...(one === starts && { matches: [...stored.slice(1 - MOST_OF_ONE), found] }),
      },
      until: hour.since + HOUR_MS,
    }));
    const cooldown = { name, state: { at: now }, until: now + cooldownMs };
    await this.#write([cooldown, ...counted]);
    failpoint("watch_stored");
    await this.#push(watch, found);
  }

  /** Without the store, the cooldown is in memory, and the push waits there until it can be stored. */
  async #write(put: readonly CounterChange[]): Promise<void> {
    const { store, log } = this.#options;
    await store
      .count(() => ({ put, drop: [] }))
      .catch((thrown: unknown) => {
        const { message, why } = asFailure(thrown);
        log.warn("a match of a watched topic could not be stored", { error: message, why });
      });
  }

  /** Does not reject. */
  async #push(watch: StartingWatch, match: StoredMatch, attempt = 0): Promise<void> {
    const { log } = this.#options;
    const { topic, id } = match;
    if (this.#isClosed || this.#retries.has(id)) return;
    const facts = { topic, client: watch.client, id };
    try {
      if ((await this.#options.push(pushOf(watch, match))) === "accepted") {
        this.#started += 1;
        log.info("a watched topic begins a turn", facts);
      }
    } catch (thrown) {
      const { code, message } = asFailure(thrown);
      // The next start does what is left.
      if (this.#isClosed) return;
      const wait = code === "busy" ? AGAIN_MS[attempt] : undefined;
      if (wait !== undefined) {
        this.#later(id, wait, () => this.#inTurn(() => this.#push(watch, match, attempt + 1)));
        return;
      }
      log.warn("a watched topic began no turn", { ...facts, error: message });
    }
    await this.#forget(watch, id).catch(() => {
      // The next start pushes it again, and it is known.
    });
  }

  async #forget({ starts }: StartingWatch, id: string): Promise<void> {
    const { store, clock } = this.#options;
    const counter = await store.counter(starts);
    const stored = storedIn(counter, clock.epoch());
    const matches = stored.filter((one) => one.id !== id);
    if (counter === undefined || matches.length === stored.length) return;
    const { name, until = clock.epoch() } = counter;
    await store.count(() => ({ put: [{ name, state: { matches }, until }], drop: [] }));
  }

  /** Does it after some time, unless it is due already, or the program ends before. */
  #later(key: string, ms: number, work: () => Promise<void>): void {
    if (this.#isClosed || this.#retries.has(key)) return;
    const cancel = this.#options.clock.after(ms, () => {
      this.#retries.delete(key);
      void work();
    });
    this.#retries.set(key, cancel);
  }

  /** Says once in each cooldown that the topic matches, and begins nothing. */
  #again(cooldown: Cooldown, { client }: WatchRule, { topic }: WatchMatch): void {
    if (cooldown.hasMatched) return;
    cooldown.hasMatched = true;
    const facts = { topic, client, until: new Date(cooldown.until).toISOString() };
    this.#options.log.info("a watched topic matches again within its cooldown", facts);
  }

  #cool(key: string, until: number): void {
    const [oldest] = this.#cooldowns.keys();
    if (oldest !== undefined && this.#cooldowns.size >= MOST_COOLDOWNS) {
      this.#cooldowns.delete(oldest);
    }
    this.#cooldowns.set(key, { until, hasMatched: false });
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

function pushOf({ channel, client, prompt }: WatchRule, { id, topic, text }: StoredMatch): Push {
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

/** The matches of a watch whose pushes are not stored; not those that would be pushed twice if they were. */
function storedIn(counter: Counter | undefined, now: number): readonly StoredMatch[] {
  const matches = at(counter?.state, "matches");
  const stored = Array.isArray(matches) ? matches.filter(isStoredMatch) : [];
  return stored.filter((match) => isWithin(match.at + KEPT_MS, now, KEPT_MS));
}

function isStoredMatch(value: unknown): value is StoredMatch {
  const texts = [at(value, "id"), at(value, "topic"), at(value, "text")];
  return texts.every((text) => typeof text === "string") && typeof at(value, "at") === "number";
}
