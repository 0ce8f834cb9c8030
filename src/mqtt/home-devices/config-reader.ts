import { isTopicName } from "../../base/topic-filter.ts";
import { truncate } from "../../base/truncate.ts";
import { TopicParts, type Config } from "./config.ts";
import type { Availability, Choice, Command, HomeDevice, Source } from "./entity.ts";
import type { StateTopic } from "./state-topics.ts";
import { parseTemplate } from "./template/template.ts";
import { isValue, parseCommandTemplate, parseValueTemplate, PLAIN } from "./value-template.ts";
import type { CommandForm, ValueTemplate } from "./value-template.ts";

/** Bytes and levels of a topic. */
const MAX_TOPIC = 256;
const MAX_LEVELS = 16;
/** Options of a list, and characters of one. */
const MAX_OPTIONS = 256;
const MAX_OPTION = 64;
/** What a character of a template takes when it is parsed, in characters. */
const COST_OF_TEMPLATE = 16;
const CONTROL = /[\p{Cc}\p{Noncharacter_Code_Point}]/u;

export interface ReaderOptions {
  /** Of several names: they report parts of one JSON object. */
  readonly stateTopic: (names: readonly string[]) => StateTopic;
  /** Whether a topic is never read or published to. */
  readonly isReserved: (topic: string) => boolean;
  readonly shared: SharedObjects;
}

/** Then new objects are no longer shared with those before. */
const MAX_SHARED = 10_000;

class Shared<T> {
  readonly #objects = new Map<string, T>();

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  of(key: string, made: T): T {
    return this.get(key) ?? this.set(key, made);
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
  readonly forms = new Shared<CommandForm>();
  readonly devices = new Shared<HomeDevice>();
  readonly #availabilities = new Shared<Availability>();

  /** A topic that nobody uses any more is another object when it comes again. */
  availability(made: Availability): Availability {
    const { mode, sources } = made;
    const words = sources.map(({ topic, template, available, unavailable }) => [
      topic.names,
      template?.text,
      available,
      unavailable,
    ]);
    const key = JSON.stringify([mode, words]);
    const known = this.#availabilities.of(key, made);
    const isCurrent = known.sources.every(({ topic }, at) => topic === sources[at]?.topic);
    return isCurrent ? known : this.#availabilities.set(key, made);
  }
}

/** Reads the keys of one entity's discovery, and takes nothing for granted. */
export class ConfigReader {
  /** Characters that the templates count for that no entity before had. */
  cost = 0;
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
    const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
    return typeof number === "number" && Number.isFinite(number) ? number : otherwise;
  }

  has(key: string): boolean {
    return this.#config.has(key);
  }

  isNull(key: string): boolean {
    return this.#config.isNull(key);
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
    return this.#source(topicKey, this.#config.text(templateKey));
  }

  /** Where a key of the JSON object on a topic is read. */
  jsonSource(topicKey: string, key: string): Source | undefined {
    return this.#source(topicKey, `{{ value_json['${key}'] }}`);
  }

  #source(topicKey: string, text: string): Source | undefined {
    const names = this.#stateTopics(topicKey);
    if (names === undefined) return undefined;
    const template = text === "" ? undefined : this.#template(text);
    if (text !== "" && template === undefined) return undefined;
    return { topic: this.#options.stateTopic(names), template };
  }

  /** How a value is set; undefined without such a topic, or with a template that is not understood. */
  command(topicKey: string, templateKey: string, name = "value"): Command | undefined {
    const topic = this.#topic(topicKey);
    if (topic === undefined) return undefined;
    const text = this.#config.text(templateKey);
    const form = text === "" ? PLAIN : this.#form(text, ["value", name]);
    return form && { topic, form };
  }

  /** A command whose payloads are made already. */
  plainCommand(topicKey: string): Command | undefined {
    const topic = this.#topic(topicKey);
    return topic === undefined ? undefined : { topic, form: PLAIN };
  }

  /** The payload that a template makes of a value; undefined without such a template, or if it makes none. */
  payload(templateKey: string, value: string): string | undefined {
    const text = this.#config.text(templateKey);
    try {
      const made = parseTemplate(text)?.evaluate(new Map([["value", value]]));
      return isValue(made) && made !== "" ? String(made) : undefined;
    } catch {
      return undefined;
    }
  }

  jsonCommand(topicKey: string, key: string): Command | undefined {
    const topic = this.#topic(topicKey);
    return topic === undefined ? undefined : { topic, form: { type: "json", key } };
  }

  choice(words: readonly string[], payloads = words, states = words, closedAt?: number): Choice {
    const key = JSON.stringify([words, payloads, states, closedAt]);
    const choice: Choice = { type: "choice", words, payloads, states, closedAt };
    return this.#options.shared.choices.of(key, choice);
  }

  #stateTopics(key: string): readonly string[] | undefined {
    const parts = this.#config.get(key);
    const names = parts instanceof TopicParts ? parts.names : [this.#config.topic(key)];
    return names.every((name) => this.#isTopic(name)) ? names : undefined;
  }

  #topic(key: string): string | undefined {
    const topic = this.#config.topic(key);
    return this.#isTopic(topic) ? topic : undefined;
  }

  #isTopic(topic: string): boolean {
    const isTopic =
      isTopicName(topic) &&
      topic.length <= MAX_TOPIC &&
      topic.split("/").length <= MAX_LEVELS &&
      !topic.startsWith("$") &&
      !CONTROL.test(topic);
    return isTopic && !this.#options.isReserved(topic);
  }

  #template(text: string): ValueTemplate | undefined {
    const { templates } = this.#options.shared;
    return templates.get(text) ?? this.#counted(text, templates, parseValueTemplate(text));
  }

  #form(text: string, names: readonly string[]): CommandForm | undefined {
    const { forms } = this.#options.shared;
    const key = JSON.stringify([names, text]);
    return forms.get(key) ?? this.#counted(key, forms, parseCommandTemplate(text, names));
  }

  #counted<T>(key: string, shared: Shared<T>, made: T | undefined): T | undefined {
    if (made === undefined) return undefined;
    this.cost += key.length * COST_OF_TEMPLATE;
    return shared.set(key, made);
  }
}
