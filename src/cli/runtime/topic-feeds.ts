import { Failure } from "../../base/failure.ts";
import type { TopicFeed } from "../../mqtt/topic-feed/topic-feed.ts";
import { reservedPrefixesOf, type TopicsOptions } from "./topics.ts";

/** The feeds of the channels' brokers, one for all channels that connect in the same way. */
export interface TopicFeeds {
  /**
   * The feed of a channel's broker, of the first channel if left out. It is opened and its code is loaded with the
   * first call, and a later call opens it again if it has ended. Rejects with a `Failure` if there is no such channel.
   */
  of(channel: string | undefined): Promise<TopicFeed>;
  close(): Promise<void>;
}

export function createTopicFeeds({ channels, connectTimeoutMs, log }: TopicsOptions): TopicFeeds {
  const feeds = new Map<string, TopicFeed>();
  let isClosed = false;
  const reservedPrefixes = (): readonly string[] => reservedPrefixesOf(channels());
  return {
    async of(name) {
      const found = channels().find((channel) => name === undefined || channel.name === name);
      const { TopicFeed: Feed } = await import("../../mqtt/topic-feed/topic-feed.ts");
      if (found === undefined || isClosed) throw new Failure("failed", "no broker is available");
      const { settings } = found;
      const { broker, tls } = settings;
      const key = JSON.stringify([broker, tls, settings.username?.reveal()]);
      const known = feeds.get(key);
      if (known !== undefined) return known;
      const feed = new Feed({ settings, connectTimeoutMs, reservedPrefixes, log });
      feeds.set(key, feed);
      void feed.ended.then(() => feeds.delete(key));
      return feed;
    },
    async close() {
      isClosed = true;
      await Promise.all([...feeds.values()].map((feed) => feed.close()));
    },
  };
}
