import { fromJson, isObject } from "../../base/unknown.ts";
import { Config } from "./config.ts";

/** One entity of a discovery payload. */
export interface DiscoveredEntity {
  /** The topic's levels between the prefix and `config`, and the component's key of a device's payload. Unique. */
  readonly id: string;
  /** Home Assistant's platform: `light`, `sensor`. */
  readonly platform: string;
  readonly config: Config;
}

/** Bytes of a payload that is read. A device with all of its components has some ten thousand. */
const MAX_PAYLOAD = 64 * 1024;
/** Components of one device. */
const MAX_COMPONENTS = 256;
const ID = /^[a-zA-Z0-9_-]{1,128}$/;

/** The filters of the discovery topics under a prefix. */
export function discoveryFilters(prefix: string): readonly string[] {
  return [`${prefix}/+/+/config`, `${prefix}/+/+/+/config`];
}

/** Where Tasmota announces a device, and what that measures, in its own words. Its firmware has them fixed. */
export const TASMOTA_FILTERS = ["tasmota/discovery/+/config", "tasmota/discovery/+/sensors"];

/** The filters of all topics on which devices are announced. */
export function announcementFilters(prefix: string): readonly string[] {
  return [...discoveryFilters(prefix), ...TASMOTA_FILTERS];
}

/** Whether a topic is one of discovery payloads, for whatever prefix; its levels after the prefix. */
function levelsOf(prefix: string, topic: string): readonly string[] | undefined {
  if (!topic.startsWith(`${prefix}/`)) return undefined;
  const levels = topic.slice(prefix.length + 1).split("/");
  if (levels.pop() !== "config" || levels.length < 2 || levels.length > 3) return undefined;
  return levels.every((level) => ID.test(level)) ? levels : undefined;
}

/** The entities of a payload: none if it removes them, or is not understood. */
export function readDiscovery(
  prefix: string,
  topic: string,
  payload: Uint8Array,
): readonly DiscoveredEntity[] {
  const levels = levelsOf(prefix, topic);
  if (levels === undefined || payload.length === 0 || payload.length > MAX_PAYLOAD) return [];
  const config = configOf(payload);
  // The agents themselves are no devices to control.
  if (config === undefined || config.object("origin").text("name") === "picoclaw") return [];
  const id = levels.join("/");
  const [platform = ""] = levels;
  if (platform !== "device") return [{ id, platform, config }];
  const components = config.get("components");
  if (!isObject(components)) return [];
  return Object.entries(components)
    .slice(0, MAX_COMPONENTS)
    .flatMap(([key, value]) => {
      if (!isObject(value) || !ID.test(key)) return [];
      const component = new Config(value, config);
      return [{ id: `${id}/${key}`, platform: component.text("platform"), config: component }];
    });
}

const DECODER = new TextDecoder("utf-8", { fatal: true });

function configOf(payload: Uint8Array): Config | undefined {
  try {
    const value = fromJson(DECODER.decode(payload));
    return isObject(value) ? new Config(value) : undefined;
  } catch {
    return undefined;
  }
}
