import { pause } from "../../base/async.ts";
import { asFailure } from "../../base/failure.ts";
import { shouldLog, type Log } from "../../base/log.ts";
import type { Session } from "../client/session.ts";
import type { BrokerNotes } from "../contract.ts";
import type { Incoming } from "../protocol/message.ts";
import { utf8Of } from "../protocol/wire.ts";

export interface BrokerQueueOptions {
  /** Milliseconds from a connection to the look at the broker's counter. */
  readonly lookMs: number;
  readonly notes?: BrokerNotes | undefined;
  readonly log: Log;
}

/** mosquitto's count of messages that did not fit into the queue of a client (mosquitto(8)). */
const DROPPED = "$SYS/broker/publish/messages/dropped";
/** The count comes at once, if it comes at all. */
const ANSWER_MS = 2_000;
/** The requests that waited have all come when none comes for so long. */
const IDLE_MS = 250;
/** The queue of one client, by default: mosquitto, EMQX, HiveMQ and VerneMQ. */
const QUEUE = 1000;
/** Messages that were in flight when the connection was lost come in addition. */
const IN_FLIGHT = 64;

const RAISE =
  "raise the broker's limit for queued messages (docs/delivery.md has each broker's key)";

/**
 * Looks for signs that the broker has dropped requests that it had acknowledged, because they did not fit into the
 * queue of the gateway. No broker tells that to anyone who is concerned. There are two signs: mosquitto counts what
 * it drops for all clients; and as many requests as a queue holds by default had waited for us.
 */
export class BrokerQueue {
  readonly #options: BrokerQueueOptions;
  /** Nodes that do not let us read their count. */
  readonly #refusing = new Set<string>();
  /** By node, the count that was read last. */
  readonly #totals = new Map<string, number>();
  #broker = "";
  /** Requests since the last connection; undefined when those that waited have come. */
  #waiting: number | undefined = 0;
  /** Requests that waited when we connected last. */
  #waited = 0;
  #dropped = 0;
  #warnings = 0;
  #unlogged = 0;

  constructor(options: BrokerQueueOptions) {
    this.#options = options;
  }

  /** Messages dropped since this process started, and since the former one looked last. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Takes note of any message. */
  received({ topic, payload, qos, retain }: Incoming): void {
    if (this.#waiting !== undefined && qos > 0 && !retain) this.#waiting += 1;
    if (topic === DROPPED) this.#take(utf8Of(payload) ?? "");
  }

  /** Looks for both signs, in a while. */
  watch(session: Session): void {
    this.#broker = session.broker;
    const over = new AbortController();
    void session.lost.then(() => {
      over.abort();
      this.#waiting = 0;
    });
    this.#look(session, over.signal).catch((thrown: unknown) => {
      if (over.signal.aborted) return;
      const { message, why } = asFailure(thrown);
      this.#options.log.debug("the broker's queue cannot be watched", { error: message, why });
    });
  }

  async #look(session: Session, signal: AbortSignal): Promise<void> {
    const waited = session.resumed ? await this.#countWaiting(signal) : 0;
    this.#waiting = undefined;
    this.#waited = waited;
    await pause(this.#options.lookMs, signal);
    if (isMosquitto(session)) await this.#subscribe(session);
    await pause(ANSWER_MS, signal);
    const isCounted = this.#totals.has(session.broker);
    if (!isCounted && waited >= QUEUE && waited <= QUEUE + IN_FLIGHT) this.#warnOfFullQueue(waited);
  }

  /** Counts until no request comes for a while, or more have come than a queue holds by default. */
  async #countWaiting(signal: AbortSignal): Promise<number> {
    let before = -1;
    while (before < (this.#waiting ?? 0) && before <= QUEUE + IN_FLIGHT) {
      before = this.#waiting ?? 0;
      await pause(IDLE_MS, signal);
    }
    return before;
  }

  /** Subscribes to the node's count, unless it refused that before, or ended the connection because of it. */
  async #subscribe(session: Session): Promise<void> {
    const { broker } = session;
    if (this.#refusing.has(broker)) return;
    this.#refusing.add(broker);
    try {
      await session.subscribe([DROPPED], 0, { retained: true });
      this.#refusing.delete(broker);
    } catch (thrown) {
      const { message, why } = asFailure(thrown);
      this.#options.log.debug("the broker does not tell what it drops", { error: message, why });
    }
  }

  #take(text: string): void {
    if (!/^\d{1,15}$/.test(text)) return;
    const total = Number(text);
    const { notes } = this.#options;
    const broker = this.#broker;
    const before = this.#totals.get(broker) ?? notes?.dropped(broker);
    this.#totals.set(broker, total);
    if (total === before) return;
    notes?.noteDropped(broker, total);
    if (before === undefined) return;
    // A broker that was restarted counts from 0.
    const grown = total < before ? total : total - before;
    if (grown === 0) return;
    this.#dropped += grown;
    this.#unlogged += grown;
    this.#warnings += 1;
    if (shouldLog(this.#warnings)) this.#warnOfDropped();
  }

  #warnOfDropped(): void {
    this.#options.log.warn(
      "the broker dropped messages, because the queue of a client was full: requests to us may be among them",
      {
        broker: this.#broker,
        dropped: this.#unlogged,
        ...(this.#waited > 0 && { waited: this.#waited }),
        try: `${RAISE}; mosquitto's log names the client`,
      },
    );
    this.#unlogged = 0;
  }

  #warnOfFullQueue(waited: number): void {
    this.#options.log.warn(
      "as many requests waited for us as a broker's queue holds by default: it may have dropped others",
      { broker: this.#broker, waited, try: RAISE },
    );
  }
}

/** mosquitto's Topic Alias Maximum (MQTT 5 section 3.2.2.3.8), by default; no other broker is known with the same. */
const ALIASES = 10;

/**
 * Only mosquitto counts there, and it ends no connection because of a subscription that it refuses, as others do. A
 * second connection, to ask first, would end ours where `use_username_as_clientid` is set.
 */
function isMosquitto({ topicAliasMaximum }: Session): boolean {
  return topicAliasMaximum === ALIASES;
}
