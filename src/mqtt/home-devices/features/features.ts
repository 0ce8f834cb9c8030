import type { ConfigReader } from "../config-reader.ts";
import type { Source, Text } from "../entity.ts";
import { climate, humidifier } from "./climate.ts";
import { light } from "./light.ts";
import {
  anything,
  feature,
  onOff,
  onOffChoice,
  optionsOf,
  percent,
  propertyOf,
  rangeOf,
  type Features,
} from "./parts.ts";

/** By Home Assistant's platforms. What is not here is no device to read or set. */
const PLATFORMS: Readonly<Record<string, (config: ConfigReader) => Features>> = {
  sensor: (config) => reported(config),
  binary_sensor: binarySensor,
  device_tracker: (config) => reported(config),
  event: (config) => reported(config, "event_type"),
  update,
  alarm_control_panel: (config) => reported(config),
  switch: (config) => onOff(config),
  light,
  fan,
  cover,
  valve,
  climate,
  water_heater: climate,
  humidifier: (config) => [...onOff(config, "state_value_template"), ...humidifier(config)],
  vacuum,
  siren,
  number: numeric,
  select,
  text,
  button: (config) => pressed(config, "payload_press", "PRESS"),
  scene: (config) => pressed(config, "payload_on", "ON"),
  lock,
};

/** What can be read and set of an entity; none for a platform that is not supported. */
export function featuresOf(platform: string, config: ConfigReader): Features {
  return Object.hasOwn(PLATFORMS, platform) ? (PLATFORMS[platform]?.(config) ?? []) : [];
}

function reported(config: ConfigReader, key?: string): Features {
  const unit = config.text("unit_of_measurement", 16);
  return feature("state", anything(unit, key), config.source("state_topic", "value_template"));
}

/** One JSON object, or the installed version alone. */
function update(config: ConfigReader): Features {
  const state = config.source("state_topic", "value_template");
  const latest = config.source("latest_version_topic", "latest_version_template") ?? state;
  return [
    ...feature("state", anything("", "installed_version"), state),
    ...feature("latest version", anything("", "latest_version"), latest),
  ];
}

const OPENING = ["open", "closed"];
const DETECTED = ["detected", "clear"];

/** What on and off are, by the class of a sensor. A contact that is "on" is taken for closed. */
const STATES: Readonly<Record<string, readonly string[]>> = {
  door: OPENING,
  garage_door: OPENING,
  opening: OPENING,
  window: OPENING,
  lock: ["unlocked", "locked"],
  moisture: ["wet", "dry"],
  connectivity: ["connected", "disconnected"],
  plug: ["plugged in", "unplugged"],
  problem: ["problem", "ok"],
  carbon_monoxide: DETECTED,
  gas: DETECTED,
  motion: DETECTED,
  occupancy: DETECTED,
  smoke: DETECTED,
  vibration: DETECTED,
};

function binarySensor(config: ConfigReader): Features {
  const { words, payloads, states } = onOffChoice(config);
  const deviceClass = config.text("device_class");
  const own = Object.hasOwn(STATES, deviceClass) ? STATES[deviceClass] : undefined;
  const values = config.choice(own ?? words, payloads, states);
  return feature("state", values, config.source("state_topic", "value_template"));
}

/** Its templates have nothing but the two payloads in them, and what is not set: a tone, a volume. */
function siren(config: ConfigReader): Features {
  const { payloads, states } = onOffChoice(config);
  const offTemplate = config.has("command_off_template")
    ? "command_off_template"
    : "command_template";
  const made = payloads.map((payload, at) => {
    const template = at === 0 ? "command_template" : offTemplate;
    return config.has(template)
      ? config.payload(template, payload)
      : JSON.stringify({ state: payload });
  });
  const [on, off] = made;
  if (on === undefined || off === undefined) return [];
  return feature(
    "state",
    config.choice(["on", "off"], [on, off], states),
    config.source("state_topic", "state_value_template"),
    config.plainCommand("command_topic"),
  );
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

/** What Home Assistant allows at most. */
const MAX_TEXT = 255;

function text(config: ConfigReader): Features {
  const max = Math.min(config.number("max", MAX_TEXT), MAX_TEXT);
  const values: Text = { type: "text", min: config.number("min", 0), max };
  const isSecret = config.text("mode") === "password";
  const source = isSecret ? undefined : config.source("state_topic", "value_template");
  return feature("value", values, source, config.command("command_topic", "command_template"));
}

function pressed(config: ConfigReader, key: string, otherwise: string): Features {
  const values = config.choice(["pressed"], [config.plain(key, otherwise)], []);
  return feature("state", values, undefined, config.command("command_topic", "command_template"));
}

function lock(config: ConfigReader): Features {
  const payloads = [config.plain("payload_lock", "LOCK"), config.plain("payload_unlock", "UNLOCK")];
  const words = ["locked", "unlocked", "locking", "unlocking", "jammed"];
  const states = words.map((word) => config.plain(`state_${word}`, word.toUpperCase()));
  const opens = config.has("payload_open");
  const values = opens
    ? config.choice(
        [...words.slice(0, 2), "open", ...words.slice(2)],
        [...payloads, config.plain("payload_open", "OPEN")],
        [...states.slice(0, 2), config.plain("state_open", "OPEN"), ...states.slice(2)],
      )
    : config.choice(words, payloads, states);
  const source = config.source("state_topic", "value_template");
  return feature("state", values, source, config.command("command_topic", "command_template"));
}

const MOVES = ["open", "closed", "stopped", "opening", "closing"];

function cover(config: ConfigReader): Features {
  const payloads = [
    config.plain("payload_open", "OPEN"),
    config.plain("payload_close", "CLOSE"),
    config.plain("payload_stop", "STOP"),
  ];
  const states = MOVES.map((word) => config.plain(`state_${word}`, word));
  const closed = config.number("position_closed", 0);
  const position = percent(closed, config.number("position_open", 100));
  const tilt = percent(config.number("tilt_min", 0), config.number("tilt_max", 100));
  const source = config.source("position_topic", "position_template");
  const state: Source | undefined = config.source("state_topic", "value_template") ?? source;
  const closedAt = state === source ? closed : undefined;
  return [
    ...feature(
      "state",
      config.choice(MOVES, payloads, states, closedAt),
      state,
      config.command("command_topic", "command_template"),
    ),
    ...feature(
      "position",
      position,
      source,
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

/** One that reports its position has that as its state, and takes it as its command. */
function valve(config: ConfigReader): Features {
  const source = config.source("state_topic", "value_template");
  const command = config.command("command_topic", "command_template");
  const closed = config.number("position_closed", 0);
  const open = config.number("position_open", 100);
  if (config.flag("reports_position")) {
    const positions = [String(open), String(closed)];
    return [
      ...feature(
        "state",
        config.choice(["open", "closed"], positions, [], closed),
        source,
        command,
      ),
      ...feature("position", percent(closed, open), source, command),
    ];
  }
  const payloads = [config.plain("payload_open", "OPEN"), config.plain("payload_close", "CLOSE")];
  const stops = config.has("payload_stop") ? [config.plain("payload_stop", "STOP")] : [];
  const words = stops.length > 0 ? MOVES : MOVES.filter((word) => word !== "stopped");
  const states = words.map((word) => config.plain(`state_${word}`, word));
  return feature("state", config.choice(words, [...payloads, ...stops], states), source, command);
}

function fan(config: ConfigReader): Features {
  const speed = percent(
    // Off is below the lowest speed.
    config.number("speed_range_min", 1) - 1,
    config.number("speed_range_max", 100),
  );
  const swings = [
    config.plain("payload_oscillation_on", "oscillate_on"),
    config.plain("payload_oscillation_off", "oscillate_off"),
  ];
  return [
    ...onOff(config, "state_value_template"),
    ...propertyOf(config, { name: "speed", key: "percentage" }, speed),
    ...optionsOf(config, "preset", "preset_modes"),
    ...propertyOf(config, { name: "oscillation" }, config.choice(["on", "off"], swings, swings)),
    ...propertyOf(config, { name: "direction" }, config.choice(["forward", "reverse"])),
  ];
}

/** What a vacuum reports once it does it, and the command for it. */
const CHORES = [
  ["cleaning", "payload_start", "start", "start"],
  ["paused", "payload_pause", "pause", "pause"],
  ["idle", "payload_stop", "stop", "stop"],
  ["returning", "payload_return_to_base", "return_to_base", "return_home"],
  ["clean_spot", "payload_clean_spot", "clean_spot", "clean_spot"],
  ["locate", "payload_locate", "locate", "locate"],
] as const;

function vacuum(config: ConfigReader): Features {
  const listed = config.list("supported_features");
  const able = listed.length > 0 ? listed : ["start", "stop", "return_home", "clean_spot"];
  const chores = CHORES.filter(([, , , ability]) => able.includes(ability));
  const words = chores.map(([word]) => word);
  const payloads = chores.map(([, key, otherwise]) => config.plain(key, otherwise));
  const speeds = config.list("fan_speed_list");
  const speed = config.plainCommand("set_fan_speed_topic");
  return [
    ...feature(
      "state",
      config.choice(words, payloads, words),
      config.jsonSource("state_topic", "state"),
      config.plainCommand("command_topic"),
    ),
    ...feature(
      "fan_mode",
      speeds.length > 0 ? config.choice(speeds) : undefined,
      config.jsonSource("state_topic", "fan_speed"),
      speed,
    ),
    ...feature("battery", anything("%"), config.jsonSource("state_topic", "battery_level")),
  ];
}
