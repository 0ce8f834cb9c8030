import { ConfigReader, type ReaderOptions } from "./config-reader.ts";
import type { Config } from "./config.ts";
import type { DiscoveredEntity } from "./discovery.ts";
import type { Availability, AvailabilitySource, Entity, HomeDevice } from "./entity.ts";
import { featuresOf } from "./features/features.ts";
import type { StateTopic } from "./state-topics.ts";

const MAX_NAME = 80;
const MAX_AVAILABILITIES = 4;
/** About what an entity costs without its texts, in characters. */
const OBJECTS = 600;

const NONE: Availability = { mode: "all", sources: [] };

/** Undefined for an entity that can neither be read nor set. */
export function buildEntity(
  { id, platform, config }: DiscoveredEntity,
  options: ReaderOptions,
): Entity | undefined {
  const reader = new ConfigReader(config, options);
  const features = featuresOf(platform, reader);
  if (features.length === 0) return undefined;
  const device = deviceOf(config.object("device"), options);
  const name = reader.text("name", MAX_NAME) || nameByClass(platform, reader);
  const objectId = reader.text("object_id", MAX_NAME);
  const entity = {
    id,
    kind: platform,
    // An entity that has no name, or none of its own, is the device itself.
    name: name || (device.name === "" ? objectId || id : ""),
    device,
    deviceClass: reader.text("device_class"),
    isDiagnostic: reader.has("entity_category"),
    features,
    availability: availabilityOf(reader, config, options),
  };
  return { ...entity, size: sizeOf(entity) + reader.cost };
}

/** Platforms whose entities Home Assistant names by their class, if the announcement says nothing of a name. */
const NAMED_BY_CLASS = new Set(["sensor", "binary_sensor", "number", "button", "update"]);

function nameByClass(platform: string, reader: ConfigReader): string {
  if (reader.has("name") || reader.isNull("name") || !NAMED_BY_CLASS.has(platform)) return "";
  const name = reader.text("device_class").replaceAll("_", " ");
  return name.slice(0, 1).toUpperCase() + name.slice(1);
}

function deviceOf(config: Config, options: ReaderOptions): HomeDevice {
  const reader = new ConfigReader(config, options);
  const [name, room] = [reader.text("name", MAX_NAME), reader.text("suggested_area", MAX_NAME)];
  return options.shared.devices.of(JSON.stringify([name, room]), { name, room });
}

function availabilityOf(
  reader: ConfigReader,
  config: Config,
  options: ReaderOptions,
): Availability {
  const listed = config.objects("availability").slice(0, MAX_AVAILABILITIES);
  const sources = [
    ...sourceOf(reader, "availability_topic", "availability_template"),
    ...listed.flatMap((one) => sourceOf(new ConfigReader(one, options), "topic", "value_template")),
  ];
  if (sources.length === 0) return NONE;
  const availability = { mode: reader.text("availability_mode") || "all", sources };
  return options.shared.availability(availability);
}

function sourceOf(
  reader: ConfigReader,
  topicKey: string,
  templateKey: string,
): readonly AvailabilitySource[] {
  const source = reader.source(topicKey, templateKey);
  if (source === undefined) return [];
  const available = reader.plain("payload_available", "online");
  const unavailable = reader.plain("payload_not_available", "offline");
  return [{ ...source, available, unavailable }];
}

/** The topics that an entity reports on, each once. */
export function topicsOf({ features, availability }: Omit<Entity, "size">): Set<StateTopic> {
  const sources = [...features.map(({ source }) => source), ...availability.sources];
  return new Set(sources.flatMap((source) => (source === undefined ? [] : [source.topic])));
}

function sizeOf(entity: Omit<Entity, "size">): number {
  const lists = entity.features.flatMap(({ values }) =>
    values.type === "choice" ? values.words : [],
  );
  const commands = entity.features.map(({ command }) => command?.topic ?? "");
  const topics = [...topicsOf(entity)].flatMap(({ names }) => names);
  const texts = [entity.id, entity.name, entity.device.name, ...commands, ...topics, ...lists];
  return texts.reduce((sum, text) => sum + text.length, OBJECTS);
}
