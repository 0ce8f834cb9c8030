import { fromJson, isObject } from "../../base/unknown.ts";
import type { FeedMessage, FeedSubscription } from "../topic-feed/topic-feed.ts";
import { readValue, type ValueTemplate } from "./value-template.ts";

/** Bytes of one payload that is kept, and characters of all. */
const MAX_PAYLOAD = 8 * 1024;
const MAX_PAYLOADS = 6 * 1024 * 1024;
/** Filters that stand for many topics. */
const MAX_WIDE = 32;
/** New topics are subscribed to together. */
const SOON_MS = 20;

/** A topic on which something is reported, with its last payload; or some that report parts of one JSON object. */
export class StateTopic {
  readonly names: readonly string[];
  /** `Date.now()` of the last payload; 0 if there was none. */
  heardAt = 0;
  /** The broker had stored it, so that it is older than that. */
  isRetained = false;
  /** Entities that read it. */
  users = 0;
  /** Undefined if there was none, or it is not kept. */
  payload: string | undefined;

  constructor(names: readonly string[]) {
    this.names = names;
  }

  /** What is known after a payload: of parts, all that were reported so far. */
  joined(payload: string): string {
    if (this.names.length === 1 || this.payload === undefined) return payload;
    try {
      const [before, now] = [fromJson(this.payload), fromJson(payload)];
      if (!isObject(before) || !isObject(now)) return payload;
      const both = JSON.stringify({ ...before, ...now });
      return both.length > MAX_PAYLOAD ? payload : both;
    } catch {
      return payload;
    }
  }

  read(template: ValueTemplate | undefined): unknown {
    return this.payload === undefined ? undefined : readValue(template, this.payload);
  }
}

/** The topics that the entities of an inventory report on, each subscribed to once. */
export class StateTopics {
  /** By their names, joined. */
  readonly #topics = new Map<string, StateTopic>();
  /** Those of several names, by each: two switches report on one topic, too. */
  readonly #parts = new Map<string, Set<StateTopic>>();
  readonly #subscription: () => FeedSubscription;
  readonly #listeners = new Set<(topic: StateTopic) => void>();
  /** First levels that are subscribed to as a whole. */
  readonly #wide = new Set<string>();
  /** The same, and those for which that was refused. */
  readonly #tried = new Set<string>();
  #wanted: string[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #characters = 0;

  constructor(subscription: () => FeedSubscription) {
    this.#subscription = subscription;
  }

  /** Whether all topics have been subscribed to. */
  get isSettled(): boolean {
    return this.#wanted.length === 0;
  }

  /** The topic of these names; it is kept and subscribed to as soon as an entity uses it. */
  get(names: readonly string[]): StateTopic {
    return this.#topics.get(names.join("\n")) ?? new StateTopic(names);
  }

  use(topic: StateTopic): void {
    topic.users += 1;
    if (topic.users > 1) return;
    const { names } = topic;
    this.#topics.set(names.join("\n"), topic);
    if (names.length > 1) for (const name of names) this.#partsOf(name).add(topic);
    this.#wanted.push(...names);
    this.#timer ??= setTimeout(() => this.#subscribe(), SOON_MS);
  }

  release(topic: StateTopic): void {
    topic.users -= 1;
    if (topic.users > 0) return;
    const { names } = topic;
    this.#topics.delete(names.join("\n"));
    for (const name of names) {
      const parts = this.#parts.get(name);
      parts?.delete(topic);
      if (parts?.size === 0) this.#parts.delete(name);
    }
    this.#characters -= topic.payload?.length ?? 0;
    this.#subscription().remove(names.filter((name) => !this.#isUsed(name)));
  }

  #partsOf(name: string): Set<StateTopic> {
    const parts = this.#parts.get(name) ?? new Set<StateTopic>();
    this.#parts.set(name, parts);
    return parts;
  }

  #isUsed(name: string): boolean {
    return this.#topics.has(name) || this.#parts.has(name);
  }

  received(message: FeedMessage): void {
    const own = this.#topics.get(message.topic);
    if (own !== undefined) this.#update(own, message);
    for (const topic of this.#parts.get(message.topic) ?? []) this.#update(topic, message);
  }

  #update(topic: StateTopic, { payload, retained }: FeedMessage): void {
    const before = topic.payload?.length ?? 0;
    this.#characters -= before;
    const text = this.#kept(payload);
    topic.payload = text === undefined ? undefined : topic.joined(text);
    this.#characters += topic.payload?.length ?? 0;
    topic.heardAt = Date.now();
    topic.isRetained = retained;
    for (const listener of this.#listeners) listener(topic);
  }

  /** Calls the listener after each message, until the returned function is called. */
  onChange(listener: (topic: StateTopic) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #kept(payload: Uint8Array): string | undefined {
    const isTooMuch = this.#characters + payload.length > MAX_PAYLOADS;
    if (payload.length > MAX_PAYLOAD || isTooMuch) return undefined;
    return Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString("utf8");
  }

  #subscribe(): void {
    this.#timer = undefined;
    const names = this.#wanted.filter(
      (name) => this.#isUsed(name) && !this.#wide.has(firstLevel(name)),
    );
    this.#wanted = [];
    this.#subscription()
      .add(names)
      .catch(() => this.#subscribeWidely(names));
  }

  /**
   * The built-in broker has a limit of subscriptions: then one to all topics with the same first level does instead.
   * If that is refused too, perhaps for a broker that forbids some topics, each topic is tried alone again.
   */
  #subscribeWidely(names: readonly string[]): void {
    const levels = new Set(names.map(firstLevel).filter((level) => !this.#tried.has(level)));
    if (levels.size === 0 || this.#tried.size + levels.size > MAX_WIDE) return;
    for (const level of levels) this.#tried.add(level);
    for (const level of levels) void this.#widen(level);
  }

  async #widen(level: string): Promise<void> {
    const topics = (): string[] =>
      [...this.#topics.values()]
        .flatMap(({ names }) => names)
        .filter((name) => firstLevel(name) === level);
    const subscription = this.#subscription();
    this.#wide.add(level);
    subscription.remove(topics());
    try {
      await subscription.add([`${level}/#`]);
    } catch {
      this.#wide.delete(level);
      subscription.remove([`${level}/#`]);
      // What is refused now stays unknown.
      await subscription.add(topics()).catch(() => {});
    }
  }
}

function firstLevel(topic: string): string {
  return topic.split("/", 1)[0] ?? "";
}
