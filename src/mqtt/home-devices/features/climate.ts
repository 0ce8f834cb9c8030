import type { ConfigReader } from "../config-reader.ts";
import type { Range } from "../entity.ts";
import { anything, feature, optionsOf, propertyOf, rangeOf, type Features } from "./parts.ts";

const MODES = ["auto", "off", "cool", "heat", "dry", "fan_only"];

export function climate(config: ConfigReader): Features {
  const unit = config.text("temperature_unit", 2) === "F" ? "°F" : "°C";
  const range = rangeOf({
    min: config.number("min_temp", unit === "°F" ? 45 : 7),
    max: config.number("max_temp", unit === "°F" ? 95 : 35),
    step: config.number("temp_step", 1),
    unit,
  });
  const current = config.source("current_temperature_topic", "current_temperature_template");
  const action = config.source("action_topic", "action_template");
  return [
    ...target(config, "temperature", range),
    ...target(config, "temperature_low", range),
    ...target(config, "temperature_high", range),
    ...optionsOf(config, "mode", "modes", MODES),
    ...optionsOf(config, "fan_mode", "fan_modes"),
    ...optionsOf(config, "swing_mode", "swing_modes"),
    ...optionsOf(config, "preset", "preset_modes"),
    ...humidity(config),
    ...feature("action", anything(), action),
    ...feature("current temperature", anything(unit), current),
  ];
}

/** What it has more than on and off. */
export function humidifier(config: ConfigReader): Features {
  return [...humidity(config), ...optionsOf(config, "mode", "modes")];
}

function humidity(config: ConfigReader): Features {
  const range = rangeOf({
    min: config.number("min_humidity", 30),
    max: config.number("max_humidity", 99),
    unit: "%",
  });
  const current = config.source("current_humidity_topic", "current_humidity_template");
  return [
    ...target(config, "humidity", range, "target_humidity"),
    ...feature("current humidity", anything("%"), current),
  ];
}

function target(
  config: ConfigReader,
  name: string,
  range: Range | undefined,
  key = name,
): Features {
  return propertyOf(config, { name, key, template: "state" }, range);
}
