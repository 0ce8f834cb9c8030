import { Failure } from "../../../src/base/failure.ts";
import { entitiesFor, type HomeEntity } from "../../../src/mqtt/home-devices/home-entity.ts";
import { Inventory } from "../../../src/mqtt/home-devices/inventory.ts";
import type { FeedListener, FeedPublication } from "../../../src/mqtt/topic-feed/topic-feed.ts";
import { settled } from "../../gateway/manual-clock.ts";
import { createMemoryLog } from "../memory-log.ts";

const EVERYTHING = { read: ["#"], publish: ["#"] };

/** What an entity reports, by name. */
export function readingsOf(entity: HomeEntity): Record<string, unknown> {
  return Object.fromEntries(entity.readings().map(({ name, value }) => [name, value]));
}

/** An inventory without a broker: the test is the feed. */
export async function openTestInventory(
  answer: (message: FeedPublication) => void = () => {},
  refuses: (filter: string) => boolean = () => false,
) {
  let listener: FeedListener | undefined;
  const filters = new Set<string>();
  const published: FeedPublication[] = [];
  let hasSubscribers = true;
  const feed = {
    listen(given: FeedListener) {
      listener = given;
      return {
        add: async (some: readonly string[]) => {
          const allowed = some.filter((filter) => !refuses(filter));
          for (const filter of allowed) filters.add(filter);
          if (allowed.length < some.length) throw new Failure("refused", "not allowed");
        },
        remove(some: readonly string[]) {
          for (const filter of some) filters.delete(filter);
        },
        close: () => filters.clear(),
      };
    },
    async publish(message: FeedPublication) {
      published.push(message);
      setTimeout(() => answer(message), 1);
      return { noMatchingSubscribers: !hasSubscribers };
    },
  };
  const log = createMemoryLog();
  const inventory = new Inventory({
    feed,
    prefix: "homeassistant",
    reservedPrefixes: () => ["/picoclaw/edge"],
    log,
    goneMs: 30,
  });
  await inventory.ready();
  const report = (topic: string, payload: string | object, retained = false): void => {
    const text = typeof payload === "string" ? payload : JSON.stringify(payload);
    listener?.onMessage({ topic, payload: Buffer.from(text), retained });
  };
  return {
    inventory,
    /** The topics that are subscribed to. */
    filters,
    published,
    log,
    report,
    announce: (id: string, config: string | object) =>
      report(`homeassistant/${id}/config`, config, true),
    reconnect: () => listener?.onReconnect?.(),
    /** Sets, and returns what was published for that, without a look at what the device reports then. */
    async sent(entity: HomeEntity, wanted: Record<string, string | number>): Promise<string[]> {
      const before = published.length;
      const stop = new AbortController();
      const setting = entity.set(wanted, stop.signal).catch(() => {});
      await settled();
      stop.abort();
      await setting;
      return published.slice(before).map(({ topic, payload }) => `${topic} ${payload}`);
    },
    /** Nobody hears commands from now on. */
    unsubscribe(): void {
      hasSubscribers = false;
    },
    entities: (rights = EVERYTHING): readonly HomeEntity[] => entitiesFor(inventory, feed, rights),
    /** The entity of that id. Throws if there is none. */
    entity(id: string, rights = EVERYTHING): HomeEntity {
      const found = entitiesFor(inventory, feed, rights).find((one) => one.id === id);
      if (found === undefined) throw new Error(`no entity ${id}`);
      return found;
    },
    [Symbol.dispose]: () => inventory.close(),
  };
}
