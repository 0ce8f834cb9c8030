import { at, fromJson, isObject, listAt, textAt } from "../../../base/unknown.ts";
import { Config, TopicParts } from "../config.ts";
import type { DiscoveredEntity } from "../discovery.ts";
import { tasmotaSensors } from "./sensors.ts";

const TOPIC = /^tasmota\/discovery\/([0-9A-F]{12})\/(config|sensors)$/;
/** Bytes of a payload, characters of all, and devices. */
const MAX_PAYLOAD = 16 * 1024;
const MAX_SIZE = 4 * 1024 * 1024;
const MAX_DEVICES = 2_000;
/** Characters of what topics are made of. */
const MAX_LEVEL = 100;
/** Relays of one device. */
const MAX_RELAYS = 32;

/** The payloads of a device: one may come before the other, or again without it. */
interface Announced {
  readonly config?: string;
  readonly sensors?: string;
}

/** What Tasmota devices have announced in their own words, in those of Home Assistant. */
export class TasmotaDevices {
  readonly #announced = new Map<string, Announced>();
  #size = 0;

  /** What the entities of a device are after a message; undefined if it is none of Tasmota's. */
  received(topic: string, payload: Uint8Array): readonly DiscoveredEntity[] | undefined {
    const [, mac, part] = TOPIC.exec(topic) ?? [];
    if (mac === undefined || part === undefined) return undefined;
    const announced: Announced = { ...this.#announced.get(mac), [part]: textOf(payload) };
    this.#forget(mac);
    const size = sizeOf(announced);
    const isRoom = this.#announced.size < MAX_DEVICES && this.#size + size <= MAX_SIZE;
    if (size === 0 || !isRoom) return [];
    this.#announced.set(mac, announced);
    this.#size += size;
    const config = parsed(announced.config);
    return isObject(config) && hasTopics(config)
      ? entitiesOf(mac, config, at(parsed(announced.sensors), "sn"))
      : [];
  }

  /** Forgets the device of that key, which is announced no more. */
  remove(key: string): void {
    this.#forget(key.slice(key.lastIndexOf("/") + 1));
  }

  #forget(mac: string): void {
    this.#size -= sizeOf(this.#announced.get(mac) ?? {});
    this.#announced.delete(mac);
  }
}

function sizeOf({ config = "", sensors = "" }: Announced): number {
  return config.length + sensors.length;
}

/** One name for both topics of a device. */
export function tasmotaKey(topic: string): string {
  return topic.slice(0, topic.lastIndexOf("/"));
}

/** Commands and states have the same topics but for a prefix. */
function hasTopics(config: object): boolean {
  const levels = [textAt(config, "t"), textAt(config, "ft"), textAt(config, "hn")];
  const isShort = [...levels, ...listAt(config, "tp").map(String)].every(
    (level) => level.length <= MAX_LEVEL,
  );
  return isShort && textAt(config, "t") !== "" && textAt(config, "ft").includes("%prefix%");
}

function textOf(payload: Uint8Array): string | undefined {
  if (payload.length === 0 || payload.length > MAX_PAYLOAD) return undefined;
  return Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString();
}

function parsed(text: string | undefined): unknown {
  try {
    return text === undefined ? undefined : fromJson(text);
  } catch {
    return undefined;
  }
}

/** A device's announcement, as far as it is the same for all of its entities. */
interface Device {
  readonly mac: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly name: string;
  /** A topic of the device, by the place of its prefix: command, status, telemetry. */
  topic(prefix: 0 | 1 | 2, last: string): string;
  readonly shared: Config;
}

function deviceOf(mac: string, config: Device["config"]): Device {
  const name = textAt(config, "dn");
  const topic: Device["topic"] = (prefix, last) =>
    textAt(config, "ft")
      .replaceAll("%prefix%", () => textAt(listAt(config, "tp"), prefix))
      .replaceAll("%topic%", () => textAt(config, "t"))
      .replaceAll("%hostname%", () => textAt(config, "hn"))
      .replaceAll("%id%", () => mac.slice(-6)) + last;
  // One that sleeps most of the time is not away.
  const sleeps = at(config, "dslp") === 1;
  const [off = "OFF", on = "ON"] = listAt(config, "state").map(String);
  const shared = new Config({
    device: { name },
    payload_off: off,
    payload_on: on,
    // It answers a command with what is new, and reports all of its state now and then.
    state_topic: new TopicParts(topic(1, "RESULT"), topic(2, "STATE")),
    ...(sleeps ? {} : { availability_topic: topic(2, "LWT") }),
    payload_available: textAt(config, "onln"),
    payload_not_available: textAt(config, "ofln"),
  });
  return { mac, config, name, topic, shared };
}

function entitiesOf(
  mac: string,
  config: Device["config"],
  sensors: unknown,
): readonly DiscoveredEntity[] {
  const device = deviceOf(mac, config);
  const relays = listAt(config, "rl").slice(0, MAX_RELAYS);
  const entity = (key: string, platform: string, own: object): DiscoveredEntity => ({
    id: `tasmota/${mac}/${key}`,
    platform,
    config: new Config({ ...own }, device.shared),
  });
  return [
    ...relays.flatMap((type, index) => {
      if (type === RELAY)
        return [entity(`relay${index + 1}`, relayKind(device), relay(device, index))];
      if (type === LIGHT) return [entity(`light${index + 1}`, "light", light(device, index))];
      return [];
    }),
    ...shuttersIn(relays).map((index) =>
      entity(`shutter${index}`, "cover", shutter(device, index)),
    ),
    ...(at(config, "if") === 1 ? [entity("fan", "fan", fan(device))] : []),
    ...switchesOf(device).map(([index, own]) => entity(`switch${index}`, "binary_sensor", own)),
    ...tasmotaSensors(sensors).map(([key, own]) =>
      entity(key, "sensor", { ...own, state_topic: device.topic(2, "SENSOR") }),
    ),
    entity("signal", "sensor", {
      name: "Signal",
      state_topic: device.topic(2, "STATE"),
      value_template: "{{ value_json.Wifi.Signal }}",
      unit_of_measurement: "dBm",
      device_class: "signal_strength",
      entity_category: "diagnostic",
    }),
  ];
}

/** Types of relays. Two of the last in a row are one shutter. */
const RELAY = 1;
const LIGHT = 2;
const SHUTTER = 3;

function isSet({ config }: Device, option: string): boolean {
  return at(at(config, "so"), option) === 1;
}

function relayKind(device: Device): string {
  return isSet(device, "30") ? "light" : "switch";
}

function relay(device: Device, index: number): object {
  const number = index + 1;
  const friendly = textAt(listAt(device.config, "fn"), index);
  // The first relay has no number unless there are more.
  const first = index === 0 ? " | default(value_json.POWER)" : "";
  const template = `{{ value_json.POWER${number}${first} }}`;
  return {
    name: friendly || `${device.name} ${number}`,
    command_topic: device.topic(0, `POWER${number}`),
    value_template: template,
    state_value_template: template,
  };
}

/** What a lamp has, by its type: nothing, a dimmer, cold and warm white, and colours with none, one or both of these. */
const COLD_WARM = 2;
const RGB = 3;
const RGBW = 4;
const RGBCW = 5;

function light(device: Device, index: number): object {
  const type = Number(at(device.config, "lt_st"));
  const own = relay(device, index);
  // The light of a fan is a relay.
  if (!(type > 0) || at(device.config, "if") === 1) return own;
  if (isSet(device, "68")) return { ...own, ...dimmer(device, `Channel${index + 1}`) };
  const isSplit = at(device.config, "lk") === 0 && type >= RGBW;
  if (!isSplit) {
    const command = at(device.config, "ty") === 1 ? "Dimmer3" : "Dimmer";
    return { ...own, ...dimmer(device, command, "Dimmer"), ...hues(device, type) };
  }
  // Its colours are one lamp, its whites the next.
  const isFirst = index === listAt(device.config, "rl").indexOf(LIGHT);
  const white = type === RGBCW ? COLD_WARM : 1;
  return {
    ...own,
    ...dimmer(device, isFirst ? "Dimmer1" : "Dimmer2"),
    ...hues(device, isFirst ? RGB : white, isFirst ? "=" : ""),
  };
}

function dimmer(device: Device, command: string, state = command): object {
  return {
    brightness_command_topic: device.topic(0, command),
    brightness_scale: 100,
    brightness_state_topic: device.shared.get("state_topic"),
    brightness_value_template: `{{ value_json.${state} }}`,
  };
}

function hues(device: Device, type: number, suffix = ""): object {
  const topics = device.shared.get("state_topic");
  const isNarrow = isSet(device, "82");
  const temperature = {
    color_temp_command_topic: device.topic(0, "CT"),
    color_temp_state_topic: topics,
    color_temp_value_template: "{{ value_json.CT }}",
    min_mireds: isNarrow ? 200 : 153,
    max_mireds: isNarrow ? 380 : 500,
  };
  const colour = {
    rgb_command_topic: device.topic(0, "Color2"),
    rgb_command_template: `{{ red }},{{ green }},{{ blue }}${suffix}`,
    rgb_state_topic: topics,
    rgb_value_template: "{{ value_json.Color }}",
  };
  return {
    ...(type === COLD_WARM || type === RGBCW ? temperature : {}),
    ...(type >= RGB ? colour : {}),
  };
}

function shuttersIn(relays: readonly unknown[]): readonly number[] {
  const halves = relays.filter((type) => type === SHUTTER).length;
  return Array.from({ length: Math.floor(halves / 2) }, (_none, index) => index + 1);
}

function shutter(device: Device, number: number): object {
  const isInverted = (Number(listAt(device.config, "sho")[number - 1]) & 1) === 1;
  return {
    name: `Shutter ${number}`,
    state_topic: "",
    position_topic: device.shared.get("state_topic"),
    position_template: `{{ value_json.Shutter${number}.Position }}`,
    position_open: isInverted ? 0 : 100,
    position_closed: isInverted ? 100 : 0,
    set_position_topic: device.topic(0, `ShutterPosition${number}`),
    command_topic: device.topic(0, "Backlog"),
    payload_open: `ShutterOpen${number}`,
    payload_close: `ShutterClose${number}`,
    payload_stop: `ShutterStop${number}`,
  };
}

/** An iFan has three speeds. */
function fan(device: Device): object {
  return {
    name: "Fan",
    command_topic: device.topic(0, "FanSpeed"),
    payload_off: "0",
    payload_on: "2",
    state_off: "off",
    state_on: "on",
    state_value_template: "{{ 'on' if value_json.FanSpeed > 0 else 'off' }}",
    percentage_command_topic: device.topic(0, "FanSpeed"),
    percentage_state_topic: device.shared.get("state_topic"),
    percentage_value_template: "{{ value_json.FanSpeed }}",
    speed_range_max: 3,
  };
}

/** Switches that only report: -1 stands for one that is not there. */
function switchesOf(device: Device): readonly (readonly [number, object])[] {
  const modes = listAt(device.config, "swc").slice(0, MAX_RELAYS);
  return modes.flatMap((mode, index) => {
    if (typeof mode !== "number" || mode < 0) return [];
    const number = index + 1;
    const own = {
      name: textAt(listAt(device.config, "swn"), index) || `Switch ${number}`,
      state_topic: new TopicParts(device.topic(1, `SWITCH${number}`), device.topic(2, "SENSOR")),
      value_template: `{{ value_json.STATE | default(value_json.Switch${number}) }}`,
    };
    return [[number, own] as const];
  });
}
