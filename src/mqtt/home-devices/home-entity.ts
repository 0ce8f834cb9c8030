import { settlesWithin, TimeoutError, withTimeout } from "../../base/async.ts";
import type { HomeReading, HomeSetting, HomeValue, SetOutcome } from "../../base/contract.ts";
import { Failure } from "../../base/failure.ts";
import { matchesFilter } from "../../base/topic-filter.ts";
import type { TopicFeed } from "../topic-feed/topic-feed.ts";
import { checkedValue, isToggle, messagesOf } from "./command-messages.ts";
import type { Change, CommandMessage } from "./command-messages.ts";
import { isOnline, isSame, readFeature, type Entity, type Feature } from "./entity.ts";
import type { Inventory } from "./inventory.ts";
import type { StateTopic } from "./state-topics.ts";

/** MQTT topic filters of what a client may read and publish to. */
export interface TopicRights {
  readonly read: readonly string[];
  readonly publish: readonly string[];
}

/** How long a device has to report what was set, and the broker to take the command. */
const LOOK_MS = 3_000;
const PUBLISH_MS = 5_000;

/** The entities that can be read or set with these rights. */
export function entitiesFor(
  inventory: Inventory,
  feed: Pick<TopicFeed, "publish">,
  rights: TopicRights,
): readonly HomeEntity[] {
  const mayRead = createCheck(rights.read);
  const maySet = createCheck(rights.publish);
  const found: HomeEntity[] = [];
  for (const entity of inventory.entities()) {
    const home = new HomeEntity(entity, { inventory, feed, mayRead, maySet });
    if (home.isVisible()) found.push(home);
  }
  return found;
}

/** Remembers its answers: many entities have the same topic. */
function createCheck(filters: readonly string[]): (topic: string) => boolean {
  const known = new Map<string, boolean>();
  return (topic) => {
    const before = known.get(topic);
    if (before !== undefined) return before;
    const is = filters.some((filter) => matchesFilter(filter, topic));
    known.set(topic, is);
    return is;
  };
}

interface Access {
  readonly inventory: Inventory;
  readonly feed: Pick<TopicFeed, "publish">;
  readonly mayRead: (topic: string) => boolean;
  readonly maySet: (topic: string) => boolean;
}

/** An entity as one client may see and set it. */
export class HomeEntity {
  readonly #entity: Entity;
  readonly #access: Access;

  constructor(entity: Entity, access: Access) {
    this.#entity = entity;
    this.#access = access;
  }

  get id(): string {
    return this.#entity.id;
  }

  get kind(): string {
    return this.#entity.kind;
  }

  /** With that of its device. */
  get name(): string {
    const { name, device } = this.#entity;
    const isWhole = name.toLowerCase().startsWith(device.name.toLowerCase());
    return isWhole ? name : `${device.name} ${name}`.trim();
  }

  get device(): string {
    return this.#entity.device.name || this.name;
  }

  get room(): string {
    return this.#entity.device.room;
  }

  get deviceClass(): string {
    return this.#entity.deviceClass;
  }

  get isDiagnostic(): boolean {
    return this.#entity.isDiagnostic;
  }

  isVisible(): boolean {
    return this.#entity.features.some((feature) => this.#isRead(feature) || this.#isSet(feature));
  }

  isOnline(): boolean | undefined {
    return isOnline(this.#entity.availability, this.#access.mayRead);
  }

  readings(): readonly HomeReading[] {
    return this.#entity.features.flatMap((feature) => {
      const { name, source, values } = feature;
      if (source === undefined || !this.#isRead(feature)) return [];
      const { heardAt, isRetained } = source.topic;
      const unit = "unit" in values ? values.unit : "";
      return [{ name, value: readFeature(feature), unit, heardAt, isRetained }];
    });
  }

  settings(): readonly HomeSetting[] {
    return this.#entity.features.flatMap((feature) => {
      if (!this.#isSet(feature)) return [];
      const { name, values } = feature;
      const words = values.type === "choice" ? values.words.slice(0, values.payloads.length) : [];
      return [{ name, words, range: values.type === "range" ? values : undefined }];
    });
  }

  /** What `set` publishes. Throws a `Failure` of code `bad_request` for what it cannot be set to. */
  commands(wanted: Readonly<Record<string, HomeValue>>): readonly CommandMessage[] {
    return messagesOf(this.#changesOf(wanted));
  }

  /**
   * Sets properties, and waits until the device reports them, for three seconds at most. Rejects with a `Failure`:
   * `bad_request` for what it cannot be set to, `unreachable`; and with the signal's reason.
   */
  async set(wanted: Readonly<Record<string, HomeValue>>, signal: AbortSignal): Promise<SetOutcome> {
    const changes = this.#changesOf(wanted);
    const looked = changes.filter(({ feature }) => this.#isRead(feature) && isVerifiable(feature));
    const heard = new Set<StateTopic>();
    const confirmed = Promise.withResolvers<void>();
    const isConfirmed = (): boolean =>
      looked.length > 0 && looked.every((one) => holds(one, heard));
    const stop = this.#access.inventory.topics.onChange((topic) => {
      if (topic.isRetained || !looked.some(({ feature }) => feature.source?.topic === topic))
        return;
      heard.add(topic);
      if (isConfirmed()) confirmed.resolve();
    });
    try {
      const noSubscribers = await this.#publish(messagesOf(changes), signal);
      const isReadable = looked.length > 0;
      if (isReadable && !noSubscribers) await settlesWithin(confirmed.promise, LOOK_MS, signal);
      return {
        isConfirmed: isConfirmed(),
        isHeard: heard.size > 0,
        isReadable,
        noSubscribers,
      };
    } finally {
      stop();
    }
  }

  #changesOf(wanted: Readonly<Record<string, HomeValue>>): readonly Change[] {
    const changes = Object.entries(wanted).map(([name, value]) => this.#changeOf(name, value));
    const onlyOn = changes.find(
      ({ feature, value }) => feature.isOnByBrightness === true && value === "on",
    );
    if (onlyOn !== undefined) return this.#turnedOn(changes.filter((one) => one !== onlyOn));
    const isLamp = changes.some(({ command }) => command.form.type === "json");
    // A lamp that gets a brightness or a colour is on, and says so even if it does not report the colour.
    return isLamp && !("state" in wanted) ? [this.#changeOf("state", "on"), ...changes] : changes;
  }

  /** With a brightness: the one that it has, if there is one, else all of it. */
  #turnedOn(changes: readonly Change[]): readonly Change[] {
    if (changes.some(({ feature }) => feature.name === "brightness")) return changes;
    const before = this.readings().find(({ name }) => name === "brightness")?.value;
    return [...changes, this.#changeOf("brightness", Number(before) > 0 ? Number(before) : 100)];
  }

  #changeOf(name: string, value: HomeValue): Change {
    const feature = this.#entity.features.find((one) => one.name === name && this.#isSet(one));
    if (feature?.command === undefined) {
      const names = this.settings().map((setting) => setting.name);
      const possible = names.length === 0 ? "nothing" : names.join(", ");
      throw new Failure("bad_request", `${name} cannot be set here, but ${possible}`);
    }
    if (isToggle(feature, value) && !this.#isRead(feature)) {
      throw new Failure("bad_request", `${name} cannot be read here: say on or off`);
    }
    return { feature, command: feature.command, value: checkedValue(feature, value) };
  }

  /** Returns whether a message had no subscriber. */
  async #publish(messages: readonly CommandMessage[], signal: AbortSignal): Promise<boolean> {
    let noSubscribers = false;
    for (const message of messages) {
      const sent = await withTimeout(PUBLISH_MS, signal, (limit) =>
        this.#access.feed.publish({ ...message, retain: false, qos: 1 }, limit),
      ).catch((thrown: unknown) => {
        if (!(thrown instanceof TimeoutError)) throw thrown;
        throw new Failure("unreachable", "the broker cannot be reached");
      });
      noSubscribers ||= sent.noMatchingSubscribers;
    }
    return noSubscribers;
  }

  #isRead({ source }: Feature): boolean {
    return source !== undefined && source.topic.names.every(this.#access.mayRead);
  }

  #isSet({ command }: Feature): boolean {
    return command !== undefined && this.#access.maySet(command.topic);
  }
}

/** A lamp reports the nearest colour that it has, and many report no effect. */
function isVerifiable(feature: Feature): boolean {
  if (feature.values.type === "colour") return false;
  return feature.name !== "effect" || readFeature(feature) !== undefined;
}

/** A device rounds numbers. */
const TOLERANCE = 0.02;

/** Whether the device has reported this value since it was set. */
function holds({ feature, value }: Change, heard: ReadonlySet<StateTopic>): boolean {
  const { source, values } = feature;
  if (source === undefined || !heard.has(source.topic)) return false;
  const now = readFeature(feature);
  if (now === undefined) return false;
  if (values.type !== "range") return isSame(now, value);
  const room = Math.max(values.step / 2, (values.max - values.min) * TOLERANCE);
  return Math.abs(Number(now) - Number(value)) <= room;
}
