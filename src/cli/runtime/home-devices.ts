import type { HomeDevices } from "../../agent/tools/home/contract.ts";
import { TimeoutError, withTimeout } from "../../base/async.ts";
import { Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { Config, MqttChannel } from "../../config/contract.ts";
import type { Inventory } from "../../mqtt/home-devices/inventory.ts";
import type { TopicFeed } from "../../mqtt/topic-feed/topic-feed.ts";
import type { TopicFeeds } from "./topic-feeds.ts";
import { reservedPrefixesOf } from "./topics.ts";

interface HomeDevicesOptions {
  readonly feeds: TopicFeeds;
  readonly channels: () => readonly MqttChannel[];
  readonly log: Log;
}

/** The devices that are announced on the channels' brokers. */
export interface OpenHomeDevices extends HomeDevices {
  /** Reads them now, if a profile names the tools, so that the first question need not wait. */
  warm(config: Config): void;
}

/** How long a call waits for a broker. */
const FIND_MS = 10_000;

interface Opened {
  readonly inventory: Inventory;
  readonly feed: TopicFeed;
}

/** Gives the agent access to those devices. With the first need the code is loaded and the connection opened. */
export function createHomeDevices({ feeds, channels, log }: HomeDevicesOptions): OpenHomeDevices {
  const inventories = new Map<string, Opened>();
  const reservedPrefixes = (): readonly string[] => [
    ...reservedPrefixesOf(channels()),
    // A device that says so would have this agent ask others in the name of their clients.
    ...channels().map(({ settings }) => `${settings.topic_prefix}/+/+/request`),
  ];

  async function open(name: string | undefined): Promise<Opened> {
    const [feed, { Inventory: Open }] = await Promise.all([
      feeds.of(name),
      import("../../mqtt/home-devices/inventory.ts"),
    ]);
    const channel = channels().find((one) => name === undefined || one.name === name);
    const prefix = channel?.settings.homeassistant.discovery_prefix ?? "homeassistant";
    const key = JSON.stringify([feed.clientId, prefix]);
    const known = inventories.get(key);
    if (known !== undefined) return known;
    const inventory = new Open({ feed, prefix, reservedPrefixes, log });
    const opened = { inventory, feed };
    inventories.set(key, opened);
    const forget = (): void => {
      inventories.delete(key);
      inventory.close();
    };
    // The next call tries again.
    inventory.ready().catch(forget);
    void feed.ended.then(forget);
    return opened;
  }

  return {
    async find({ channel, signal }, permissions) {
      const { entitiesFor } = await import("../../mqtt/home-devices/home-entity.ts");
      const { inventory, feed } = await open(channel);
      await withTimeout(FIND_MS, signal, () => inventory.ready()).catch((thrown: unknown) => {
        if (!(thrown instanceof TimeoutError)) throw thrown;
        throw new Failure("unreachable", "the broker cannot be reached");
      });
      return {
        entities: entitiesFor(inventory, feed, permissions),
        isCut: inventory.isCut,
        isOld: feed.problem() !== undefined,
      };
    },
    warm({ tools: { profiles, off } }) {
      const names = ["devices", "set_device"].filter((name) => !off.has(name));
      if (!profiles.some(({ tools }) => names.some((name) => tools.includes(name)))) return;
      // A failure is said at the first question, and in the log of the feed.
      for (const { name } of channels())
        open(name)
          .then(loadAhead)
          .catch(() => {});
    },
  };
}

/** Loads what the first question would wait for; the runtime reads the time zone with its first use, in 7 ms. */
async function loadAhead({ inventory, feed }: Opened): Promise<void> {
  await inventory.ready();
  feed.connectToPublish();
  await import("../../mqtt/home-devices/home-entity.ts");
  const { localMinute } = await import("../../agent/device/time.ts");
  localMinute(new Date());
}
