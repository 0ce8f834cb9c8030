import { createHash } from "node:crypto";
import { createSerialQueue } from "../../base/async.ts";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { keepMemorySmall } from "../../base/memory.ts";
import type { CounterStore } from "../../store/contract/counters.ts";
import type { Clock } from "../clock.ts";
import { WATCH_COUNTER } from "../usage/accounts.ts";
import {
  isUnusual,
  learnable,
  merged,
  WeekBaseline,
  weekHourAt,
  type UnusualValue,
  type WeekHour,
} from "./baseline.ts";
import { TopicRows, type Finished } from "./topic-rows.ts";

export interface BaselinesOptions {
  readonly store: CounterStore;
  /** Whether other gateways write the same baselines: each hears all messages. */
  readonly isShared: boolean;
  readonly clock: Pick<Clock, "epoch">;
  readonly log: Log;
}

const KEPT_MS = 60 * 24 * 3_600_000;
/** Topics that are read and written together. */
const AT_ONCE = 64;

/**
 * The usual values of each hour of the week. Of a topic only the current hour is in memory; the store has the others,
 * and gets an hour when it is over, or when the gateway stops.
 */
export class Baselines {
  readonly #options: BaselinesOptions;
  readonly #inTurn = createSerialQueue();
  readonly #rows = new TopicRows();
  /** Topics to read, with what to write before it. */
  #due = new Map<number, Finished | undefined>();
  #hour: WeekHour;

  constructor(options: BaselinesOptions) {
    this.#options = options;
    this.#hour = weekHourAt(options.clock.epoch());
  }

  /** Returns a number for the value of a topic; its baseline is read in the background. */
  open(...named: readonly unknown[]): number {
    const hash = createHash("sha256").update(JSON.stringify(named)).digest();
    const topic = this.#rows.open(hash, this.hour());
    this.#read(topic);
    return topic;
  }

  /** The hour of the week now. */
  hour(): WeekHour {
    const now = this.#options.clock.epoch();
    const { end } = this.#hour;
    // The clock may have been set back, too.
    if (now >= end || now < end - 3_600_000) this.#hour = weekHourAt(now);
    return this.#hour;
  }

  /** Learns a value. Returns it with what is usual if it is unusual. */
  add(topic: number, value: number): UnusualValue | undefined {
    this.turn(topic);
    const known = this.#rows.knownOf(topic);
    const learned = learnable(known, value);
    if (learned !== undefined) this.#rows.add(topic, learned);
    return isUnusual(known, value) && known !== undefined ? { value, ...known } : undefined;
  }

  /** Hands the hour that is over to the store. */
  turn(topic: number): void {
    const hour = this.hour();
    if (hour.hour === this.#rows.hourOf(topic).hour) return;
    const finished = this.#rows.take(topic);
    this.#rows.begin(topic, hour);
    this.#read(topic, finished);
  }

  /** Writes what the current hour has so far, and forgets the topics. Does not reject. */
  async close(topics: readonly number[]): Promise<void> {
    for (const topic of topics) {
      const finished = this.#rows.take(topic);
      if (finished !== undefined) this.#read(topic, finished);
    }
    await this.#inTurn(() => {});
    for (const topic of topics) this.#rows.close(topic);
  }

  #read(topic: number, finished?: Finished): void {
    if (this.#due.size === 0) void this.#inTurn(() => this.#readAll());
    this.#due.set(topic, together(this.#due.get(topic), finished));
  }

  async #readAll(): Promise<void> {
    const due = [...this.#due];
    this.#due = new Map();
    for (let index = 0; index < due.length; index += AT_ONCE) {
      const some = due.slice(index, index + AT_ONCE);
      // Of each topic its whole week goes through memory.
      if (some.length === AT_ONCE) keepMemorySmall();
      try {
        await this.#readSome(some);
      } catch (thrown) {
        // An hour is lost, or nothing is unusual in the current one.
        const { message, why } = asFailure(thrown);
        this.#options.log.warn("baselines of watched topics could not be stored", {
          error: message,
          why,
        });
      }
    }
  }

  async #readSome(due: readonly (readonly [number, Finished | undefined])[]): Promise<void> {
    const { store, clock } = this.#options;
    const names = due.map(([topic]) => `${WATCH_COUNTER}baseline ${this.#rows.nameOf(topic)}`);
    const counters = await Promise.all(names.map((name) => store.counter(name)));
    const put = due.flatMap(([topic, finished], index) => {
      const week = new WeekBaseline(counters[index]?.state);
      const isNew = finished !== undefined && this.#isMissing(week, finished);
      if (isNew) week.add(finished.hour, finished.samples);
      this.#rows.know(topic, week.at(this.#rows.hourOf(topic).index));
      const name = names[index] ?? "";
      return isNew ? [{ name, state: week.state, until: clock.epoch() + KEPT_MS }] : [];
    });
    if (put.length > 0) await store.count(() => ({ put, drop: [] }));
  }

  /** Of several gateways the first one writes an hour. */
  #isMissing({ through }: WeekBaseline, { hour }: Finished): boolean {
    return !this.#options.isShared || through < hour.hour;
  }
}

/** Only a store that is very late lets two hours wait: then the newer one counts. */
function together(one: Finished | undefined, other: Finished | undefined): Finished | undefined {
  if (one === undefined || other === undefined || one.hour.hour !== other.hour.hour)
    return other ?? one;
  return { hour: one.hour, samples: merged(one.samples, other.samples) };
}
