import { createHash } from "node:crypto";
import { createSerialQueue } from "../../base/async.ts";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { CounterStore } from "../../store/contract.ts";
import type { Clock } from "../clock.ts";
import { WATCH_COUNTER } from "../usage/accounts.ts";
import {
  isUnusual,
  learnable,
  merged,
  RunningSamples,
  WeekBaseline,
  weekHourAt,
  type HourBaseline,
  type Samples,
  type UnusualValue,
  type WeekHour,
} from "./baseline.ts";

export interface BaselinesOptions {
  readonly store: CounterStore;
  /** Whether other gateways write the same baselines: each hears all messages. */
  readonly isShared: boolean;
  readonly clock: Pick<Clock, "epoch">;
  readonly log: Log;
}

/** The value of one topic in the current hour of the week. */
export interface TopicBaseline {
  readonly name: string;
  hour: WeekHour;
  /** What the store knows of this hour of earlier weeks; undefined until it was read. */
  known: HourBaseline | undefined;
  /** Since then. */
  current: RunningSamples;
}

/** A part of an hour to add to what the store has. */
interface Finished {
  readonly hour: WeekHour;
  readonly samples: Samples;
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
  /** Topics to read, with what to write before it. */
  #due = new Map<TopicBaseline, Finished | undefined>();
  #hour: WeekHour;

  constructor(options: BaselinesOptions) {
    this.#options = options;
    this.#hour = weekHourAt(options.clock.epoch());
  }

  /** What a topic is compared with; its baseline is read in the background. */
  open(...named: readonly unknown[]): TopicBaseline {
    const hash = createHash("sha256").update(JSON.stringify(named)).digest("hex").slice(0, 24);
    const name = `${WATCH_COUNTER}baseline ${hash}`;
    const topic = { name, hour: this.hour(), known: undefined, current: new RunningSamples() };
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
  add(topic: TopicBaseline, value: number): UnusualValue | undefined {
    this.turn(topic);
    const { known, current } = topic;
    const found = isUnusual(known, value) && known !== undefined ? { value, ...known } : undefined;
    current.add(learnable(known, value));
    return found;
  }

  /** Hands the hour that is over to the store. */
  turn(topic: TopicBaseline): void {
    const hour = this.hour();
    if (hour.hour === topic.hour.hour) return;
    const finished = finishedOf(topic);
    topic.hour = hour;
    topic.known = undefined;
    topic.current = new RunningSamples();
    this.#read(topic, finished);
  }

  /** Writes what the current hour has so far. Does not reject. */
  async save(topics: Iterable<TopicBaseline>): Promise<void> {
    for (const topic of topics) {
      const finished = finishedOf(topic);
      topic.current = new RunningSamples();
      if (finished !== undefined) this.#read(topic, finished);
    }
    await this.#inTurn(() => {});
  }

  #read(topic: TopicBaseline, finished?: Finished): void {
    if (this.#due.size === 0) void this.#inTurn(() => this.#readAll());
    this.#due.set(topic, together(this.#due.get(topic), finished));
  }

  async #readAll(): Promise<void> {
    const due = [...this.#due];
    this.#due = new Map();
    for (let index = 0; index < due.length; index += AT_ONCE) {
      const some = due.slice(index, index + AT_ONCE);
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

  async #readSome(due: readonly (readonly [TopicBaseline, Finished | undefined])[]): Promise<void> {
    const { store, clock } = this.#options;
    const counters = await Promise.all(due.map(([{ name }]) => store.counter(name)));
    const put = due.flatMap(([topic, finished], index) => {
      const week = new WeekBaseline(counters[index]?.state);
      const isNew = finished !== undefined && this.#isMissing(week, finished);
      if (isNew) week.add(finished.hour, finished.samples);
      topic.known = week.at(topic.hour.index);
      return isNew ? [{ name: topic.name, state: week.state, until: clock.epoch() + KEPT_MS }] : [];
    });
    if (put.length > 0) await store.count(() => ({ put, drop: [] }));
  }

  /** Of several gateways the first one writes an hour. */
  #isMissing({ through }: WeekBaseline, { hour }: Finished): boolean {
    return !this.#options.isShared || through < hour.hour;
  }
}

function finishedOf({ hour, current }: TopicBaseline): Finished | undefined {
  return current.count === 0 ? undefined : { hour, samples: current.samples };
}

/** Only a store that is very late lets two hours wait: then the newer one counts. */
function together(one: Finished | undefined, other: Finished | undefined): Finished | undefined {
  if (one === undefined || other === undefined || one.hour.hour !== other.hour.hour)
    return other ?? one;
  return { hour: one.hour, samples: merged(one.samples, other.samples) };
}
