import type { ColourForm } from "../colour.ts";
import type { ConfigReader } from "../config-reader.ts";
import type { Feature, Range } from "../entity.ts";
import { feature, onOff, optionsOf, percent, propertyOf, rangeOf, type Features } from "./parts.ts";

export function light(config: ConfigReader): Features {
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

/** One JSON object on one topic, both ways. */
function jsonLight(config: ConfigReader): Features {
  const modes = config.list("supported_color_modes");
  const isDimmable = config.flag("brightness") || modes.some((mode) => mode !== "onoff");
  const property = (name: string, key: string, values: Feature["values"] | undefined): Features => {
    const command = config.jsonCommand("command_topic", key);
    return feature(name, values, config.jsonSource("state_topic", key), command);
  };
  const form = jsonColour(modes);
  const effects = config.list("effect_list");
  return [
    ...property("state", "state", config.choice(["on", "off"], ["ON", "OFF"], ["ON", "OFF"])),
    ...(isDimmable
      ? property("brightness", "brightness", percent(0, config.number("brightness_scale", 255)))
      : []),
    ...(modes.includes("color_temp")
      ? property("color_temperature", "color_temp", colourTemperature(config))
      : []),
    ...(form === undefined ? [] : property("color", "color", { type: "colour", form })),
    ...(effects.length > 0 ? property("effect", "effect", config.choice(effects)) : []),
  ];
}

/** The form that Home Assistant would send. */
function jsonColour(modes: readonly string[]): ColourForm | undefined {
  if (modes.some((mode) => mode.startsWith("rgb"))) return "rgb";
  if (modes.includes("hs")) return "hs";
  return modes.includes("xy") ? "xy" : undefined;
}

/** The keys of a lamp's colour, the best first, and a variable that a template for it has. */
const COLOURS = [
  ["rgb", "rgb list", "red"],
  ["hs", "hs list", "hue"],
  ["xy", "xy list", "x"],
] as const;

/** A topic for each property. */
function basicLight(config: ConfigReader): Features {
  const brightness = percent(0, config.number("brightness_scale", 255));
  const [key, form, variable] =
    COLOURS.find(([one]) => config.has(`${one}_command_topic`)) ?? COLOURS[0];
  // Home Assistant would not publish that either; Tasmota has it all the same.
  const isOnByBrightness =
    config.text("on_command_type") === "brightness" &&
    config.has("brightness_command_topic") &&
    !config.has("payload_on");
  const state = onOff(config, "state_value_template");
  return [
    ...state.flatMap((one) => (isOnByBrightness ? [{ ...one, isOnByBrightness }] : [one])),
    ...propertyOf(config, { name: "brightness" }, brightness),
    ...propertyOf(
      config,
      { name: "color_temperature", key: "color_temp" },
      colourTemperature(config),
    ),
    ...propertyOf(config, { name: "color", key, variable }, { type: "colour", form }),
    ...optionsOf(config, "effect", "effect_list"),
  ];
}
