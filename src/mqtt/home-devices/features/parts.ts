import type { ConfigReader } from "../config-reader.ts";
import type { Anything, Choice, Command, Feature, Range, Source } from "../entity.ts";

export type Features = readonly Feature[];

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

export function anything(unit = "", key?: string): Anything {
  return { type: "any", unit, key };
}

export function percent(from: number, to: number): Range | undefined {
  return rangeOf({ min: 0, max: 100, unit: "%", device: { from, to } });
}

export function onOffChoice(config: ConfigReader): Choice {
  const [on, off] = [config.plain("payload_on", "ON"), config.plain("payload_off", "OFF")];
  const states = [config.plain("state_on", on), config.plain("state_off", off)];
  return config.choice(["on", "off"], [on, off], states);
}

export function onOff(config: ConfigReader, templateKey = "value_template"): Features {
  const source = config.source("state_topic", templateKey);
  const command = config.command("command_topic", "command_template");
  return feature("state", onOffChoice(config), source, command);
}

interface Property {
  readonly name: string;
  /** What the keys of its topics and templates begin with; its name if left out. */
  readonly key?: string;
  /** How Home Assistant calls the template of its state: `value_template`, or `state_template`. */
  readonly template?: "value" | "state";
  /** What a template for it calls the value, if not `value`. */
  readonly variable?: string;
}

/** A feature with topics for it alone. */
export function propertyOf(
  config: ConfigReader,
  { name, key = name, template = "value", variable }: Property,
  values: Feature["values"] | undefined,
): Features {
  return feature(
    name,
    values,
    config.source(`${key}_state_topic`, `${key}_${template}_template`),
    config.command(`${key}_command_topic`, `${key}_command_template`, variable),
  );
}

/** A feature with a list of options. Home Assistant calls the template of a state by one name or another. */
export function optionsOf(
  config: ConfigReader,
  name: string,
  list: string,
  otherwise: readonly string[] = [],
): Features {
  const listed = config.list(list);
  const options = listed.length > 0 ? listed : otherwise;
  const key = list === "effect_list" ? "effect" : list.slice(0, -1);
  const template = config.has(`${key}_value_template`) ? "value" : "state";
  const values = options.length > 0 ? config.choice(options) : undefined;
  return propertyOf(config, { name, key, template }, values);
}
