import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { Config, WatchSettings } from "../../config/contract.ts";
import { SYSTEM_CLOCK } from "../../gateway/clock.ts";
import type { Gateway } from "../../gateway/gateway.ts";
import type { StatusWatches } from "../../gateway/statistics/contract.ts";
import type { Watches } from "../../gateway/watch/watches.ts";
import type { TopicFeed } from "../../mqtt/topic-feed/topic-feed.ts";
import type { State } from "../state/state.ts";
import { sharedClockOf } from "./shared-clock.ts";

/** The watched topics of a gateway: `tools.mqtt.watch`. */
export interface Watching {
  /** Watches what a configuration says, in place of what was watched. Its code is loaded with the first topic. */
  readonly apply: (config: Pick<Config, "tools">) => void;
  /** Undefined if nothing is watched. */
  readonly status: () => StatusWatches | undefined;
  /** Starts nothing more, and stores what was learned. Does not reject. */
  readonly close: () => Promise<void>;
}

export interface WatchingOptions {
  readonly feeds: { readonly of: (channel: string) => Promise<Feed> };
  readonly state: Pick<State, "store" | "cluster">;
  readonly push: Gateway["push"];
  readonly log: Log;
}

type Feed = Pick<TopicFeed, "listen" | "problem">;

interface Begun {
  /** Resolves when the broker has answered the subscription. */
  readonly subscribed: Promise<void>;
  readonly end: () => Promise<void>;
}

export function createWatching({ feeds, state, push, log }: WatchingOptions): Watching {
  /** How to end each watch, by its settings as JSON: those that stay keep what they know. */
  const open = new Map<string, () => Promise<void>>();
  let watches: Watches | undefined;
  let changes = Promise.resolve();
  const change = async (wanted: readonly WatchSettings[]): Promise<void> => {
    const byKey = new Map(wanted.map((settings) => [JSON.stringify(settings), settings]));
    const ended = [...open].filter(([key]) => !byKey.has(key));
    for (const [key] of ended) open.delete(key);
    await Promise.all(ended.map(([, end]) => end()));
    const begun = [...byKey].filter(([key]) => !open.has(key));
    const subscribing: Promise<void>[] = [];
    for (const [key, settings] of begun) {
      try {
        watches ??= await openWatches({ state, push, log });
        const { subscribed, end } = beginWatch(settings, watches, await feeds.of(settings.channel));
        open.set(key, end);
        subscribing.push(subscribed);
      } catch (thrown) {
        const { message, why } = asFailure(thrown);
        log.error("a topic is not watched", { topic: settings.topic, error: message, why });
      }
    }
    if (subscribing.length === 0) return;
    void Promise.all(subscribing).then(() => {
      log.info("topics are watched", { topics: topicsText(wanted) });
    });
  };
  const inTurn = (work: () => Promise<void>): Promise<void> => (changes = changes.then(work));
  return {
    apply: ({ tools }) => void inTurn(() => change(tools.watch)),
    status: () =>
      watches && watches.size.watches > 0
        ? { ...watches.size, started: watches.started }
        : undefined,
    close: () =>
      inTurn(async () => {
        await watches?.close();
        await change([]);
      }),
  };
}

function beginWatch(settings: WatchSettings, watches: Watches, feed: Feed): Begun {
  let isSubscribed = false;
  const isHearing = (): boolean => isSubscribed && feed.problem() === undefined;
  const watch = watches.open(settings, isHearing);
  const subscription = feed.listen(watch, 1);
  const subscribed = subscription.add([settings.topic]).then(
    () => {
      isSubscribed = true;
    },
    // The feed logs what the broker refuses.
    () => {},
  );
  const end = async (): Promise<void> => {
    subscription.close();
    await watch.close();
  };
  return { subscribed, end };
}

async function openWatches({
  state: { store, cluster },
  push,
  log,
}: Omit<WatchingOptions, "feeds">): Promise<Watches> {
  const { Watches: Opened } = await import("../../gateway/watch/watches.ts");
  // The cooldowns of all gateways begin at the same times: else one message could begin two turns.
  const clock = await sharedClockOf(store).catch(() => SYSTEM_CLOCK);
  return new Opened({ store, isShared: cluster !== undefined, push, clock, log });
}

const MOST_SHOWN = 20;

function topicsText(wanted: readonly WatchSettings[]): string {
  const shown = wanted.slice(0, MOST_SHOWN).map(({ topic, written }) => `${topic} (${written})`);
  const more = wanted.length - shown.length;
  return [...shown, ...(more > 0 ? [`${more} more`] : [])].join(", ");
}
