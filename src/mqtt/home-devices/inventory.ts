import { pause } from "../../base/async.ts";
import { Failure } from "../../base/failure.ts";
import { collectGarbage } from "../../base/host.ts";
import type { Log } from "../../base/log.ts";
import { matchesFilter } from "../../base/topic-filter.ts";
import type { FeedMessage, FeedSubscription, TopicFeed } from "../topic-feed/topic-feed.ts";
import { buildEntity, topicsOf } from "./build-entity.ts";
import { SharedObjects, type ReaderOptions } from "./config-reader.ts";
import {
  discoveryFilters,
  readDiscovery,
  TASMOTA_FILTERS,
  type DiscoveredEntity,
} from "./discovery.ts";
import type { Entity } from "./entity.ts";
import { StateTopics, type StateTopic } from "./state-topics.ts";
import { TasmotaDevices, tasmotaKey } from "./tasmota/devices.ts";

export interface InventoryOptions {
  readonly feed: Pick<TopicFeed, "listen" | "publish">;
  /** Home Assistant's discovery prefix. */
  readonly prefix: string;
  /** Prefixes of topics that are neither read nor published to: the agents' own. */
  readonly reservedPrefixes: () => readonly string[];
  readonly log: Log;
  /** Milliseconds after a reconnect after which what has not come again is gone; 10,000 if left out. */
  readonly goneMs?: number;
}

/**
 * Entities after which the garbage of reading them is collected. Without that it lies between what is kept, in memory
 * that is never given back: 30 MB instead of 17 for 10,000 entities.
 */
const ENTITIES_A_COLLECTION = 200;
/** Entities, and characters of what is kept for them. */
const MAX_ENTITIES = 15_000;
const MAX_SIZE = 16 * 1024 * 1024;
/** Retained messages come at once: after so long without one they are all there. */
const QUIET_MS = 150;
const LOOK_MS = 25;
/** A broker that sends without a pause is not waited for any longer. */
const SETTLE_MS = 5_000;
const GONE_MS = 10_000;

/** The devices that programs on the broker announce for Home Assistant, with what they report. */
export class Inventory {
  readonly topics: StateTopics;
  readonly #options: InventoryOptions;
  readonly #subscription: FeedSubscription;
  readonly #tasmota = new TasmotaDevices();
  /** By the discovery topic. */
  readonly #entities = new Map<string, readonly Entity[]>();
  readonly #shared = new SharedObjects();
  /** Discovery topics that have not come again since the last reconnect. */
  #stale = new Set<string>();
  #gone: ReturnType<typeof setTimeout> | undefined;
  #count = 0;
  #collected = 0;
  #size = 0;
  #heardAt = performance.now();
  #hasWarned = false;
  readonly #settled: Promise<void>;
  readonly #closing = new AbortController();

  constructor(options: InventoryOptions) {
    this.#options = options;
    this.topics = new StateTopics(() => this.#subscription);
    this.#subscription = options.feed.listen(
      {
        onMessage: (message) => this.#received(message),
        onReconnect: () => this.#reconnected(),
      },
      0,
    );
    this.#settled = this.#settle();
    this.#settled.catch(() => {});
  }

  /**
   * Resolves when what the broker has stored was read. Rejects with a `Failure` if the broker cannot be reached, or after
   * `close`.
   */
  async ready(): Promise<void> {
    await this.#settled;
  }

  /** Whether there were more entities than are kept. */
  get isCut(): boolean {
    return this.#hasWarned;
  }

  *entities(): Generator<Entity, void> {
    for (const entities of this.#entities.values()) yield* entities;
  }

  /** Leaves no timer. */
  close(): void {
    this.#closing.abort(new Failure("unreachable", "the devices are not read any more"));
    clearTimeout(this.#gone);
    this.topics.close();
    this.#subscription.close();
  }

  async #settle(): Promise<void> {
    const { signal } = this.#closing;
    await this.#subscription.add(discoveryFilters(this.#options.prefix), signal);
    await this.#subscription.add(TASMOTA_FILTERS, signal).catch(() => {
      // A broker may forbid these: what is announced for Home Assistant is there all the same.
      this.#subscription.remove(TASMOTA_FILTERS);
    });
    this.#heardAt = performance.now();
    const end = performance.now() + SETTLE_MS;
    while (performance.now() < end) {
      await pause(LOOK_MS, signal);
      const isQuiet = performance.now() - this.#heardAt > QUIET_MS;
      if (isQuiet && this.topics.isSettled) return;
    }
  }

  #received(message: FeedMessage): void {
    this.topics.received(message);
    const announced = this.#announced(message);
    if (announced === undefined) return;
    const { key, found } = announced;
    this.#heardAt = performance.now();
    this.#stale.delete(key);
    // Announced again: what the device has reported stays.
    const before = this.#entities.get(key) ?? [];
    for (const entity of before) this.#use(entity);
    this.#remove(key);
    const entities = found.flatMap((one) => {
      const entity = buildEntity(one, this.#reading());
      return entity === undefined || !this.#hasRoom(entity) ? [] : [this.#kept(entity)];
    });
    if (entities.length > 0) this.#entities.set(key, entities);
    for (const entity of before) this.#release(entity);
  }

  /** What a message announces; undefined if it is no announcement. */
  #announced({
    topic,
    payload,
  }: FeedMessage): { key: string; found: readonly DiscoveredEntity[] } | undefined {
    const { prefix } = this.#options;
    if (discoveryFilters(prefix).some((filter) => matchesFilter(filter, topic))) {
      return { key: topic, found: readDiscovery(prefix, topic, payload) };
    }
    const found = this.#tasmota.received(topic, payload);
    return found && { key: tasmotaKey(topic), found };
  }

  #reading(): ReaderOptions {
    const reserved = this.#options.reservedPrefixes();
    const configs = `${this.#options.prefix}/#`;
    const topics = new Map<string, StateTopic>();
    return {
      stateTopic: (names) => {
        const key = names.join("\n");
        const topic = topics.get(key) ?? this.topics.get(names);
        topics.set(key, topic);
        return topic;
      },
      isReserved: (topic) =>
        reserved.some((prefix) => matchesFilter(`${prefix}/#`, topic)) ||
        // Whatever is published there is a discovery payload itself.
        (topic.endsWith("/config") && matchesFilter(configs, topic)) ||
        matchesFilter("tasmota/discovery/#", topic),
      shared: this.#shared,
    };
  }

  #hasRoom({ size }: Entity): boolean {
    if (this.#count < MAX_ENTITIES && this.#size + size <= MAX_SIZE) return true;
    if (!this.#hasWarned) {
      this.#options.log.warn("more devices are announced than are kept", { kept: this.#count });
    }
    this.#hasWarned = true;
    return false;
  }

  #kept(entity: Entity): Entity {
    this.#use(entity);
    this.#count += 1;
    this.#size += entity.size;
    if (this.#count >= this.#collected + ENTITIES_A_COLLECTION) {
      this.#collected = this.#count;
      collectGarbage();
    }
    return entity;
  }

  #use(entity: Entity): void {
    for (const topic of topicsOf(entity)) this.topics.use(topic);
  }

  #release(entity: Entity): void {
    for (const topic of topicsOf(entity)) this.topics.release(topic);
  }

  #remove(topic: string): void {
    for (const entity of this.#entities.get(topic) ?? []) {
      this.#release(entity);
      this.#count -= 1;
      this.#size -= entity.size;
    }
    this.#entities.delete(topic);
  }

  #reconnected(): void {
    this.#stale = new Set(this.#entities.keys());
    clearTimeout(this.#gone);
    this.#gone = setTimeout(() => {
      for (const key of this.#stale) {
        this.#remove(key);
        this.#tasmota.remove(key);
      }
    }, this.#options.goneMs ?? GONE_MS);
    this.#gone.unref();
  }
}
