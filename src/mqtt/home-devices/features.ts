import { feature, rangeOf, type ConfigReader } from "./config-reader.ts";
import type { Anything, Colour, Feature, Range } from "./entity.ts";

type Features = readonly Feature[];

/** By Home Assistant's platforms. What is not here is no device to read or set. */
const PLATFORMS: Readonly<Record<string, (config: ConfigReader) => Features>> = {
  sensor: reported,
  binary_sensor: binarySensor,
  switch: (config) => onOff(config),
  light,
  fan,
  cover,
  climate,
  number: numeric,
  select,
  button: (config) => pressed(config, "payload_press", "PRESS"),
  scene: (config) => pressed(config, "payload_on", "ON"),
  lock,
};

/** What can be read and set of an entity; none for a platform that is not supported. */
export function featuresOf(platform: string, config: ConfigReader): Features {
  return Object.hasOwn(PLATFORMS, platform) ? (PLATFORMS[platform]?.(config) ?? []) : [];
}

const anything = (unit = ""): Anything => ({ type: "any", unit });

const percent = (from: number, to: number): Range | undefined =>
  rangeOf({ min: 0, max: 100, unit: "%", device: { from, to } });

function reported(config: ConfigReader): Features {
  const unit = config.text("unit_of_measurement", 16);
  return feature("state", anything(unit), config.source("state_topic", "value_template"));
}

function onOffChoice(config: ConfigReader) {
  const [on, off] = [config.plain("payload_on", "ON"), config.plain("payload_off", "OFF")];
  const states = [config.plain("state_on", on), config.plain("state_off", off)];
  return config.choice(["on", "off"], [on, off], states);
}

function binarySensor(config: ConfigReader): Features {
  return feature("state", onOffChoice(config), config.source("state_topic", "value_template"));
}

function onOff(config: ConfigReader, templateKey = "value_template"): Features {
  const source = config.source("state_topic", templateKey);
  const command = config.command("command_topic", "command_template");
  return feature("state", onOffChoice(config), source, command);
}

function numeric(config: ConfigReader): Features {
  const values = rangeOf({
    min: config.number("min", 1),
    max: config.number("max", 100),
    step: config.number("step", 1),
    unit: config.text("unit_of_measurement", 16),
  });
  const source = config.source("state_topic", "value_template");
  return feature("value", values, source, config.command("command_topic", "command_template"));
}

function select(config: ConfigReader): Features {
  const options = config.list("options");
  const source = config.source("state_topic", "value_template");
  const command = config.command("command_topic", "command_template");
  return feature("value", options.length > 0 ? config.choice(options) : undefined, source, command);
}

function pressed(config: ConfigReader, key: string, otherwise: string): Features {
  const values = config.choice(["pressed"], [config.plain(key, otherwise)], []);
  return feature("state", values, undefined, config.command("command_topic", "command_template"));
}

function lock(config: ConfigReader): Features {
  const payloads = [config.plain("payload_lock", "LOCK"), config.plain("payload_unlock", "UNLOCK")];
  const states = [
    config.plain("state_locked", "LOCKED"),
    config.plain("state_unlocked", "UNLOCKED"),
  ];
  const values = config.choice(["locked", "unlocked"], payloads, states);
  const source = config.source("state_topic", "value_template");
  return feature("state", values, source, config.command("command_topic", "command_template"));
}

function cover(config: ConfigReader): Features {
  const payloads = [
    config.plain("payload_open", "OPEN"),
    config.plain("payload_close", "CLOSE"),
    config.plain("payload_stop", "STOP"),
  ];
  const words = ["open", "closed", "stopped", "opening", "closing"];
  const states = words.map((word) => config.plain(`state_${word}`, word));
  const position = percent(
    config.number("position_closed", 0),
    config.number("position_open", 100),
  );
  const tilt = percent(config.number("tilt_min", 0), config.number("tilt_max", 100));
  return [
    ...feature(
      "state",
      config.choice(words, payloads, states),
      config.source("state_topic", "value_template"),
      config.command("command_topic", "command_template"),
    ),
    ...feature(
      "position",
      position,
      config.source("position_topic", "position_template"),
      config.command("set_position_topic", "set_position_template", "position"),
    ),
    ...feature(
      "tilt",
      tilt,
      config.source("tilt_status_topic", "tilt_status_template"),
      config.command("tilt_command_topic", "tilt_command_template", "tilt_position"),
    ),
  ];
}

function fan(config: ConfigReader): Features {
  const speed = percent(
    // Off is below the lowest speed.
    config.number("speed_range_min", 1) - 1,
    config.number("speed_range_max", 100),
  );
  return [
    ...onOff(config, "state_value_template"),
    ...feature(
      "speed",
      speed,
      config.source("percentage_state_topic", "percentage_value_template"),
      config.command("percentage_command_topic", "percentage_command_template"),
    ),
    ...optionsOf(config, PRESET),
  ];
}

const MODES = ["auto", "off", "cool", "heat", "dry", "fan_only"];

function climate(config: ConfigReader): Features {
  const unit = config.text("temperature_unit", 2) === "F" ? "°F" : "°C";
  const temperature = rangeOf({
    min: config.number("min_temp", unit === "°F" ? 45 : 7),
    max: config.number("max_temp", unit === "°F" ? 95 : 35),
    step: config.number("temp_step", 1),
    unit,
  });
  const current = config.source("current_temperature_topic", "current_temperature_template");
  const humidity = config.source("current_humidity_topic", "current_humidity_template");
  return [
    ...feature(
      "temperature",
      temperature,
      config.source("temperature_state_topic", "temperature_state_template"),
      config.command("temperature_command_topic", "temperature_command_template"),
    ),
    ...optionsOf(config, { name: "mode", list: "modes", key: "mode", state: "state" }, MODES),
    ...optionsOf(config, { name: "fan_mode", list: "fan_modes", key: "fan_mode", state: "state" }),
    ...optionsOf(config, PRESET),
    ...feature("current temperature", anything(unit), current),
    ...feature("current humidity", anything("%"), humidity),
  ];
}

interface OptionKeys {
  readonly name: string;
  readonly list: string;
  /** The beginning of the keys of topics and templates. */
  readonly key: string;
  /** The end of the template's key is `_state_template` or `_value_template`. */
  readonly state: "state" | "value";
}

const PRESET: OptionKeys = {
  name: "preset",
  list: "preset_modes",
  key: "preset_mode",
  state: "value",
};

/** A feature with a list of options. */
function optionsOf(
  config: ConfigReader,
  { name, list, key, state }: OptionKeys,
  otherwise: readonly string[] = [],
): Features {
  const listed = config.list(list);
  const options = listed.length > 0 ? listed : otherwise;
  return feature(
    name,
    options.length > 0 ? config.choice(options) : undefined,
    config.source(`${key}_state_topic`, `${key}_${state}_template`),
    config.command(`${key}_command_topic`, `${key}_command_template`),
  );
}

function light(config: ConfigReader): Features {
  const schema = config.text("schema") || "basic";
  if (schema === "json") return jsonLight(config);
  return schema === "basic" || schema === "default" ? basicLight(config) : [];
}

/** In kelvin for everybody; the lamp has kelvin or mireds. */
function colourTemperature(config: ConfigReader): Range | undefined {
  const isKelvin = config.flag("color_temp_kelvin");
  const [low, high] = isKelvin
    ? [config.number("min_kelvin", 2_000), config.number("max_kelvin", 6_535)]
    : [
        Math.ceil(1_000_000 / config.number("max_mireds", 500)),
        Math.floor(1_000_000 / config.number("min_mireds", 153)),
      ];
  const isRange = Number.isFinite(low) && Number.isFinite(high) && low > 0;
  const device = isKelvin ? "same" : "mireds";
  return isRange ? rangeOf({ min: low, max: high, unit: "K", device }) : undefined;
}

const COLOUR_MODES = ["rgb", "rgbw", "rgbww", "hs", "xy"];

/** One JSON object on one topic, both ways. */
function jsonLight(config: ConfigReader): Features {
  const modes = config.list("supported_color_modes");
  const has = (some: readonly string[]): boolean => some.some((mode) => modes.includes(mode));
  const isDimmable = config.flag("brightness") || modes.some((mode) => mode !== "onoff");
  const property = (name: string, key: string, values: Feature["values"] | undefined): Features =>
    feature(
      name,
      values,
      key === "color" ? undefined : config.jsonSource("state_topic", key),
      config.jsonCommand("command_topic", key),
    );
  const colour: Colour = { type: "colour", form: "json" };
  const effects = config.list("effect_list");
  return [
    ...property("state", "state", config.choice(["on", "off"], ["ON", "OFF"], ["ON", "OFF"])),
    ...(isDimmable
      ? property("brightness", "brightness", percent(0, config.number("brightness_scale", 255)))
      : []),
    ...(has(["color_temp"])
      ? property("color_temperature", "color_temp", colourTemperature(config))
      : []),
    ...(has(COLOUR_MODES) ? property("color", "color", colour) : []),
    ...(effects.length > 0 ? property("effect", "effect", config.choice(effects)) : []),
  ];
}

/** The template with which a lamp takes `#rrggbb`. */
const HEX = /^\{\{\s*['"]#%02x%02x%02x['"]\s*\|\s*format\(red,\s*green,\s*blue\)\s*\}\}$/;

/** A topic for each property. */
function basicLight(config: ConfigReader): Features {
  const brightness = percent(0, config.number("brightness_scale", 255));
  const isHex = HEX.test(config.text("rgb_command_template", 100).trim());
  const colourKey = isHex ? "none" : "rgb_command_template";
  const colour: Colour = { type: "colour", form: isHex ? "hex" : "rgb list" };
  return [
    ...onOff(config, "state_value_template"),
    ...feature(
      "brightness",
      brightness,
      config.source("brightness_state_topic", "brightness_value_template"),
      config.command("brightness_command_topic", "brightness_command_template"),
    ),
    ...feature(
      "color_temperature",
      colourTemperature(config),
      config.source("color_temp_state_topic", "color_temp_value_template"),
      config.command("color_temp_command_topic", "color_temp_command_template"),
    ),
    ...feature("color", colour, undefined, config.command("rgb_command_topic", colourKey)),
    ...optionsOf(config, { name: "effect", list: "effect_list", key: "effect", state: "value" }),
  ];
}
