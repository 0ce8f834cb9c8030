import { permissionsOfProfiles } from "../../agent/access/permissions.ts";
import type { TopicPermissions } from "../../agent/access/permissions.ts";
import { abortable } from "../../base/async.ts";
import type { Diagnosis } from "../../base/contract.ts";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { listed } from "../../base/truncate.ts";
import type { Config, MqttChannel } from "../../config/contract.ts";
import { announcementFilters } from "../../mqtt/home-devices/discovery.ts";
import { entitiesFor, type HomeEntity } from "../../mqtt/home-devices/home-entity.ts";
import { Inventory } from "../../mqtt/home-devices/inventory.ts";
import { accessUser, grantRemedy } from "../../mqtt/requester/access.ts";
import { TopicFeed } from "../../mqtt/topic-feed/topic-feed.ts";
import { reservedPrefixesOf } from "../runtime/topics.ts";

export interface DeviceCheckOptions {
  readonly config: Config;
  /** As the gateway connects to it. */
  readonly channel: MqttChannel;
  readonly connectTimeoutMs: number;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Profiles that are named in a line. */
const MOST_NAMED = 10;

/** Clients that have the tools for devices. */
interface Viewer {
  readonly whose: string;
  readonly topics: TopicPermissions;
}

/** How many devices are announced on the broker of a channel, and who sees them; nothing if no client may. */
export async function deviceChecks(options: DeviceCheckOptions): Promise<readonly Diagnosis[]> {
  const viewers = viewersIn(options.config);
  if (viewers.length === 0) return [];
  const { channel, connectTimeoutMs, log, config, signal } = options;
  const { settings, name } = channel;
  const facts = { code: "broker.devices", name } as const;
  const prefix = settings.homeassistant.discovery_prefix;
  const reservedPrefixes = (): readonly string[] => reservedPrefixesOf(config.channels);
  const feed = new TopicFeed({ settings, connectTimeoutMs, reservedPrefixes, log });
  const inventory = new Inventory({ feed, prefix, reservedPrefixes, log });
  const grants = announcementFilters(prefix).map((filter) => `topic read ${filter}`);
  const remedy = `${grantRemedy(settings, ...grants)}; picoclaw acl mosquitto prints all of it`;
  try {
    await abortable(inventory.ready(), signal);
    const all = entitiesFor(inventory, feed, { read: ["#"], publish: ["#"] });
    if (all.length > 0)
      return seenChecks(viewers, all.length, { facts, inventory, feed, settings });
    const message = `no device is announced below ${prefix}/ or tasmota/discovery/, or ${accessUser(settings)} may not read that`;
    return [{ ...facts, result: "warn", message, remedy: `if there are devices, ${remedy}` }];
  } catch (thrown) {
    signal.throwIfAborted();
    const { message: said, code } = asFailure(thrown);
    const message = `${said}: devices are not found`;
    return [{ ...facts, result: "fail", message, ...(code === "refused" && { remedy }) }];
  } finally {
    inventory.close();
    await feed.close();
  }
}

/** Profiles that have the tools, and with `allow_remote` clients without a profile. */
function viewersIn({ tools, agents }: Config): readonly Viewer[] {
  const { workspace, turn_profile: turnProfile } = agents.defaults;
  const profiles = permissionsOfProfiles({ tools, workspace, turnProfile });
  return profiles.flatMap(({ pattern, permissions: { allows, topics } }) =>
    allows("devices") || allows("set_device") ? [{ whose: pattern, topics }] : [],
  );
}

interface Seen {
  readonly facts: Pick<Diagnosis, "code" | "name">;
  readonly inventory: Inventory;
  readonly feed: TopicFeed;
  readonly settings: MqttChannel["settings"];
}

function seenChecks(
  viewers: readonly Viewer[],
  announced: number,
  { facts, inventory, feed, settings }: Seen,
): readonly Diagnosis[] {
  const views = viewers.map(({ whose, topics }) => {
    const entities = entitiesFor(inventory, feed, topics);
    return { whose, entities, set: entities.filter((one) => one.settings().length > 0).length };
  });
  const texts = views.map(({ whose, entities, set }) =>
    set > 0
      ? `${whose} sees ${entities.length} and sets ${set}`
      : `${whose} sees ${entities.length}`,
  );
  const least = inventory.isCut ? "at least " : "";
  const message = `${least}${announced} ${announced === 1 ? "entity of a device is" : "entities of devices are"} announced: ${listed(texts, MOST_NAMED)}`;
  const blind = views.filter(({ entities }) => entities.length === 0).map(({ whose }) => whose);
  const blindness: readonly Diagnosis[] =
    blind.length === 0
      ? []
      : [
          {
            ...facts,
            result: "warn",
            message: `${listed(blind, MOST_NAMED)}: the topics of no device are within the profile's topics`,
            remedy:
              "name the base topics of the devices in topics.read and topics.publish, such as zigbee2mqtt/#",
          },
        ];
  return [
    { ...facts, result: "ok", message },
    ...blindness,
    ...silence(
      views.flatMap(({ entities }) => entities),
      facts,
      settings,
    ),
  ];
}

/** A warning if not one of the devices that can be read has reported anything. */
function silence(
  entities: readonly HomeEntity[],
  facts: Seen["facts"],
  settings: Seen["settings"],
): readonly Diagnosis[] {
  const readings = entities.flatMap((entity) => entity.readings());
  if (readings.length === 0 || readings.some(({ heardAt }) => heardAt > 0)) return [];
  return [
    {
      ...facts,
      result: "warn",
      message: `none of them has reported anything yet, or ${accessUser(settings)} may not read their topics`,
      remedy: `if they have, give ${accessUser(settings)} the rights that picoclaw acl prints`,
    },
  ];
}
