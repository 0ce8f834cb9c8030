import { isTopicName } from "../../base/topic-filter.ts";
import { truncate } from "../../base/truncate.ts";
import type { Config } from "./config.ts";
import type {
  Availability,
  Choice,
  Command,
  Feature,
  HomeDevice,
  Range,
  Source,
} from "./entity.ts";
import type { StateTopic } from "./state-topics.ts";
import { isValue, parseCommandTemplate, parseValueTemplate, PLAIN } from "./value-template.ts";
import type { ValueTemplate } from "./value-template.ts";

/** Bytes and levels of a topic. */
const MAX_TOPIC = 256;
const MAX_LEVELS = 16;
/** Options of a list, and characters of one. */
const MAX_OPTIONS = 256;
const MAX_OPTION = 64;
const CONTROL = /[\p{Cc}\p{Noncharacter_Code_Point}]/u;

export interface ReaderOptions {
  readonly stateTopic: (name: string) => StateTopic;
  /** Whether a topic is never read or published to. */
  readonly isReserved: (topic: string) => boolean;
  readonly shared: SharedObjects;
}

/** Then new objects are no longer shared with those before. */
const MAX_SHARED = 10_000;

class Shared<T> {
  readonly #objects = new Map<string, T>();

  of(key: string, made: T): T {
    return this.#objects.get(key) ?? this.set(key, made);
  }

  set(key: string, made: T): T {
    if (this.#objects.size >= MAX_SHARED) this.#objects.clear();
    this.#objects.set(key, made);
    return made;
  }
}

/** One object for equal ones: thousands of entities have the same options and templates. */
export class SharedObjects {
  readonly choices = new Shared<Choice>();
  readonly templates = new Shared<ValueTemplate>();
  readonly devices = new Shared<HomeDevice>();
  readonly #availabilities = new Shared<Availability>();

  /** A topic that nobody uses any more is another object when it comes again. */
  availability(made: Availability): Availability {
    const { mode, sources } = made;
    const words = sources.map(({ topic, template, available, unavailable }) => [
      topic.name,
      template,
      available,
      unavailable,
    ]);
    const known = this.#availabilities.of(JSON.stringify([mode, words]), made);
    const isCurrent = known.sources.every(({ topic }, at) => topic === sources[at]?.topic);
    return isCurrent ? known : this.#availabilities.set(JSON.stringify([mode, words]), made);
  }
}

/** Reads the keys of one entity's discovery, and takes nothing for granted. */
export class ConfigReader {
  readonly #config: Config;
  readonly #options: ReaderOptions;

  constructor(config: Config, options: ReaderOptions) {
    this.#config = config;
    this.#options = options;
  }

  text(key: string, most = MAX_OPTION): string {
    return truncate(this.#config.text(key), most);
  }

  flag(key: string): boolean {
    return this.#config.get(key) === true;
  }

  number(key: string, otherwise: number): number {
    const value = this.#config.get(key);
    return typeof value === "number" && Number.isFinite(value) ? value : otherwise;
  }

  has(key: string): boolean {
    return this.#config.has(key);
  }

  /** A payload or a state, which may be any plain value. */
  plain(key: string, otherwise: string): string {
    const value = this.#config.get(key);
    return isValue(value) && String(value).length <= MAX_OPTION ? String(value) : otherwise;
  }

  list(key: string): readonly string[] {
    const value = this.#config.get(key);
    if (!Array.isArray(value)) return [];
    return value
      .slice(0, MAX_OPTIONS)
      .filter((one: unknown) => isValue(one) && String(one).length <= MAX_OPTION)
      .map(String);
  }

  /** Where a value is read; undefined without such a topic, or with a template that is not read. */
  source(topicKey: string, templateKey: string): Source | undefined {
    const name = this.#topic(topicKey);
    if (name === undefined) return undefined;
    const text = this.#config.text(templateKey);
    const template = text === "" ? undefined : this.#template(text);
    if (text !== "" && template === undefined) return undefined;
    return { topic: this.#options.stateTopic(name), template };
  }

  /** Where a key of the JSON object on a topic is read. */
  jsonSource(topicKey: string, key: string): Source | undefined {
    const name = this.#topic(topicKey);
    if (name === undefined) return undefined;
    const template = this.#template(`{{ value_json['${key}'] }}`);
    return { topic: this.#options.stateTopic(name), template };
  }

  /** How a value is set; undefined without such a topic, or with a template that is not understood. */
  command(topicKey: string, templateKey: string, name = "value"): Command | undefined {
    const topic = this.#topic(topicKey);
    if (topic === undefined) return undefined;
    const text = this.#config.text(templateKey);
    const form = text === "" ? PLAIN : parseCommandTemplate(text, ["value", name]);
    return form && { topic, form };
  }

  jsonCommand(topicKey: string, key: string): Command | undefined {
    const topic = this.#topic(topicKey);
    return topic === undefined ? undefined : { topic, form: { type: "json", key } };
  }

  choice(words: readonly string[], payloads = words, states = words): Choice {
    const key = JSON.stringify([words, payloads, states]);
    return this.#options.shared.choices.of(key, { type: "choice", words, payloads, states });
  }

  #topic(key: string): string | undefined {
    const topic = this.#config.topic(key);
    const isTopic =
      isTopicName(topic) &&
      topic.length <= MAX_TOPIC &&
      topic.split("/").length <= MAX_LEVELS &&
      !topic.startsWith("$") &&
      !CONTROL.test(topic);
    return isTopic && !this.#options.isReserved(topic) ? topic : undefined;
  }

  #template(text: string): ValueTemplate | undefined {
    const parsed = parseValueTemplate(text);
    return parsed && this.#options.shared.templates.of(text, parsed);
  }
}

/** A range; undefined if it is invalid. */
export function rangeOf({
  min,
  max,
  step = 1,
  unit = "",
  device = "same",
}: Partial<Range> & Pick<Range, "min" | "max">): Range | undefined {
  const isEmpty = !(min < max) || !(step > 0);
  const isFlat = typeof device === "object" && device.from === device.to;
  return isEmpty || isFlat ? undefined : { type: "range", min, max, step, unit, device };
}

/** The feature, if it can be read or set. */
export function feature(
  name: string,
  values: Feature["values"] | undefined,
  source: Source | undefined,
  command?: Command,
): readonly Feature[] {
  if (values === undefined || (source === undefined && command === undefined)) return [];
  return [{ name, values, source, command }];
}
