import type { MessageCondition } from "../../base/contract.ts";
import { prefixOf } from "../../base/truncate.ts";
import type { UnusualValue } from "./baseline.ts";
import { Baselines, type BaselinesOptions } from "./baselines.ts";
import {
  comparedValues,
  comparesValues,
  holds,
  numberAt,
  valueOfPayload,
  type ComparedValues,
} from "./condition.ts";
import type { WatchedMessage, WatchMatch, WatchRule } from "./contract.ts";
import { Starts, type StartsOptions } from "./starts.ts";

export type WatchesOptions = StartsOptions & Omit<BaselinesOptions, "clock">;

/** Hears the messages of a watch's topic. Neither throws nor blocks. */
export interface OpenWatch {
  readonly onMessage: (message: WatchedMessage) => void;
  /** Writes what it has learned. */
  readonly close: () => Promise<void>;
}

/** What is known of one topic of a watch; absent fields are of no use for its condition, or not known yet. */
interface TopicState {
  heardAt: number;
  isMissing: boolean;
  held?: boolean;
  compared?: ComparedValues;
  /** Of `Baselines`. */
  baseline?: number;
}

interface Opened {
  readonly rule: WatchRule;
  /** By topic. */
  readonly states: Map<string, TopicState>;
  /** Whether its messages can be heard now; else silence means nothing. */
  readonly isHearing: () => boolean;
  readonly start: (match: WatchMatch) => void;
}

/** Topics whose state is in memory, of all watches. */
const MAX_TOPICS = 20_000;
/** Characters of a topic whose state is in memory. */
const MAX_TOPIC = 1_024;
/** Characters of a payload for the model. */
const MAX_PAYLOAD = 4_000;
const TICK_MS = 1_000;
/** Baselines that one tick stores, and reads for the new hour: some thousand go through memory in ten seconds. */
const TURNED_AT_ONCE = 256;

/** Compares messages with what is watched, and starts turns. */
export class Watches {
  readonly #options: WatchesOptions;
  readonly #starts: Starts;
  readonly #baselines: Baselines;
  readonly #open = new Set<Opened>();
  #topics = 0;
  #isFull = false;
  /** The hour up to which baselines are stored, and those which have to be. */
  #hour = 0;
  #turning: Iterator<number> | undefined;
  #cancelTick: (() => void) | undefined;

  constructor(options: WatchesOptions) {
    this.#options = options;
    this.#starts = new Starts(options);
    this.#baselines = new Baselines(options);
  }

  /** Turns since the start of the process. */
  get started(): number {
    return this.#starts.started;
  }

  /** What is watched: watches, and the topics that they remember something of. */
  get size(): { readonly watches: number; readonly topics: number } {
    return { watches: this.#open.size, topics: this.#topics };
  }

  /** A topic without wildcards counts as heard from now on. */
  open(rule: WatchRule, isHearing: () => boolean): OpenWatch {
    const opened = { rule, states: new Map(), isHearing, start: this.#starts.open(rule) };
    this.#open.add(opened);
    const { topic, missingMs, unusual } = rule;
    if (missingMs !== undefined && !/[+#]/.test(topic)) this.#stateOf(opened, topic);
    if (missingMs !== undefined || unusual !== undefined) this.#cancelTick ??= this.#tickLater();
    return {
      onMessage: (message) => this.#received(opened, message),
      close: async () => {
        this.#open.delete(opened);
        this.#topics -= opened.states.size;
        await this.#baselines.close(baselinesIn(opened));
      },
    };
  }

  /** Starts nothing more. */
  async close(): Promise<void> {
    this.#cancelTick?.();
    this.#cancelTick = undefined;
    await this.#starts.close();
  }

  #received(opened: Opened, { topic, payload, retained }: WatchedMessage): void {
    if (!this.#open.has(opened)) return;
    const { rule } = opened;
    const state = hasState(rule) ? this.#stateOf(opened, topic) : undefined;
    if (state !== undefined) {
      state.heardAt = this.#options.clock.now();
      state.isMissing = false;
    }
    if (rule.missingMs !== undefined) return;
    const text = Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString();
    const note = this.#compare(rule, { topic, text, retained }, state);
    if (note === undefined || retained) return;
    const short = text.length > MAX_PAYLOAD ? `${prefixOf(text, MAX_PAYLOAD)}…` : text;
    opened.start({ topic, text: short + note });
  }

  /** What the model hears besides the payload; undefined if the message does not match. */
  #compare(
    rule: WatchRule,
    { topic, text, retained }: WatchMatch & Pick<WatchedMessage, "retained">,
    state: TopicState | undefined,
  ): string | undefined {
    const { when, unusual } = rule;
    if (when === undefined && unusual === undefined) return "";
    const value = valueOfPayload(text);
    const isMatch = when === undefined || matches(when, value, state);
    if (unusual === undefined || state === undefined || retained) {
      return isMatch && unusual === undefined ? "" : undefined;
    }
    const found = this.#learn(rule, topic, state, numberAt(value, unusual));
    return found !== undefined && isMatch ? `\n${usualText(found)}` : undefined;
  }

  #learn(
    { channel, unusual }: WatchRule,
    topic: string,
    state: TopicState,
    value: number | undefined,
  ): UnusualValue | undefined {
    if (value === undefined) return undefined;
    state.baseline ??= this.#baselines.open(channel, topic, unusual);
    return this.#baselines.add(state.baseline, value);
  }

  /** Undefined if there are too many, or it is too long: then what needs a state never matches. */
  #stateOf({ states }: Opened, topic: string): TopicState | undefined {
    const known = states.get(topic);
    if (known !== undefined || topic.length > MAX_TOPIC) return known;
    if (this.#topics >= MAX_TOPICS) {
      if (!this.#isFull) this.#options.log.warn(FULL, { try: "narrow the topics of watches" });
      this.#isFull = true;
      return undefined;
    }
    const state = { heardAt: this.#options.clock.now(), isMissing: false };
    states.set(topic, state);
    this.#topics += 1;
    return state;
  }

  #tickLater(): () => void {
    return this.#options.clock.after(TICK_MS, () => {
      this.#cancelTick = this.#tickLater();
      for (const opened of this.#open) {
        if (opened.rule.missingMs !== undefined) this.#findMissing(opened, opened.rule.missingMs);
      }
      this.#turnSome();
    });
  }

  /** Hands the hour that is over to the store, of some topics with each tick: all at once fill the memory. */
  #turnSome(): void {
    const { hour } = this.#baselines.hour();
    if (hour !== this.#hour) {
      this.#turning = [...this.#open].flatMap(baselinesIn).values();
      this.#hour = hour;
    }
    for (let turned = 0; turned < TURNED_AT_ONCE; turned += 1) {
      const next = this.#turning?.next();
      if (next === undefined || next.done) {
        this.#turning = undefined;
        return;
      }
      this.#baselines.turn(next.value);
    }
  }

  #findMissing({ states, isHearing, start }: Opened, missingMs: number): void {
    const now = this.#options.clock.now();
    const canHear = isHearing();
    for (const [topic, state] of states) {
      if (!canHear) state.heardAt = now;
      if (state.isMissing || now - state.heardAt < missingMs) continue;
      state.isMissing = true;
      const seconds = Math.round((now - state.heardAt) / 1000);
      start({ topic, text: `(no message for ${seconds} s)` });
    }
  }
}

const FULL = `more than ${MAX_TOPICS} topics are watched: further ones are not compared with their earlier messages`;

function hasState({ when, unusual, missingMs }: WatchRule): boolean {
  const comparesEarlier = when !== undefined && (when.becomes || comparesValues(when));
  return comparesEarlier || unusual !== undefined || missingMs !== undefined;
}

/** Whether a message matches, and what the next one is compared with. */
function matches(when: MessageCondition, value: unknown, state: TopicState | undefined): boolean {
  const before = state?.compared ?? [];
  const now = comparesValues(when) ? comparedValues(when, value) : [];
  const isHeld = holds(when, value, now, before);
  const wasHeld = state?.held;
  if (state !== undefined && now.length > 0) {
    state.compared = now.map((one, index) => one ?? before[index]);
  }
  if (state !== undefined && when.becomes) state.held = isHeld;
  return isHeld && (!when.becomes || wasHeld === false);
}

function baselinesIn({ states }: Opened): readonly number[] {
  return [...states.values()].flatMap(({ baseline }) => baseline ?? []);
}

function usualText({ mean, deviation }: UnusualValue): string {
  const [usual, off] = [mean, deviation].map((number) => Number(number.toPrecision(4)));
  return `(unusual: at this hour of the week it is ${usual}, with a standard deviation of ${off})`;
}
