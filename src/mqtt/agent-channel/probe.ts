import { pause } from "../../base/async.ts";
import { Failure, asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { shouldLog } from "../../base/log.ts";
import type { Session } from "../client/session.ts";
import { ConnectionLost } from "../protocol/message.ts";
import type { Incoming } from "../protocol/message.ts";
import type { PublishTopic } from "../protocol/topics.ts";

interface ProbeOptions {
  /** A retained topic: at each subscription the broker sends its message, the same way as requests. */
  readonly topic: PublishTopic;
  readonly qos: 0 | 1 | 2;
  /** Between probes; 0 is no probes. */
  readonly seconds: number;
  readonly log: Log;
}

/** Silence after a probe that counts; at most the time between probes. */
const SILENCE_MS = 20_000;
const CHECKS = 20;

const SILENT = "the broker delivers nothing on this connection";

/**
 * Finds a connection on which the broker acknowledges everything and delivers nothing.
 *
 * Silence counts only after this process received a probe on an existing subscription: some brokers accept
 * subscriptions that their access list forbids and then send nothing, and some send retained messages only
 * to new subscriptions. It does not count while messages wait for their acknowledgement, because the broker
 * may wait for that, nor while reading is paused.
 */
export class Probe {
  readonly #options: ProbeOptions;
  readonly #silenceMs: number;
  /** A message came since the last probe. */
  #isAnswered = false;
  /** The subscription existed before this probe. */
  #isRepeated = false;
  #isProven = false;
  #unacknowledged = 0;
  /** Probes in a row without an answer. */
  #silences = 0;

  constructor(options: ProbeOptions) {
    this.#options = options;
    this.#silenceMs = Math.min(SILENCE_MS, options.seconds * 1000);
  }

  /** Probes this session at once, and then at intervals, until it is lost. */
  watch(session: Session): void {
    if (this.#options.seconds === 0) return;
    const over = new AbortController();
    void session.lost.then(() => over.abort());
    this.#run(session, over.signal).catch((error: unknown) => {
      if (over.signal.aborted || error instanceof ConnectionLost) return;
      const { message, why } = asFailure(error);
      this.#options.log.debug("the connection cannot be probed", { error: message, why });
    });
  }

  /** Takes note of any message; `until` settles when it may be acknowledged. */
  received({ topic, retain }: Incoming, until: Promise<void> | undefined): void {
    this.#isAnswered = true;
    if (topic === this.#options.topic && retain && this.#isRepeated) this.#isProven = true;
    if (this.#silences > 0) this.#options.log.info("the broker delivers again");
    this.#silences = 0;
    if (until === undefined) return;
    this.#unacknowledged += 1;
    const done = (): void => {
      this.#unacknowledged -= 1;
    };
    until.then(done, done);
  }

  /** Set from a silence on until a message comes, on whatever connection. */
  problem(): Failure | undefined {
    return this.#silences > 0 ? silentBroker(this.#options.topic) : undefined;
  }

  async #run(session: Session, signal: AbortSignal): Promise<void> {
    this.#isRepeated = session.resumed;
    for (;;) {
      await this.#probe(session, signal);
      // The first probe of a process is repeated at once: a broker may stop delivering early.
      const isDue = this.#isAnswered && !this.#isProven && !this.#isRepeated;
      this.#isRepeated = true;
      if (!isDue) await pause(this.#options.seconds * 1000, signal);
    }
  }

  async #probe(session: Session, signal: AbortSignal): Promise<void> {
    const { topic, qos, log } = this.#options;
    this.#isAnswered = false;
    await session.subscribe([topic], qos, { retained: true });
    if (!(await this.#isSilent(session, signal))) return;
    if (!this.#isProven) {
      log.debug("the connection cannot be probed: the broker does not send our status back");
      return;
    }
    this.#silences += 1;
    // If a new connection did not help, further ones are made ever less often.
    if (shouldLog(this.#silences)) session.abort(`${SILENT}: it does not send our status back`);
  }

  async #isSilent(session: Session, signal: AbortSignal): Promise<boolean> {
    const interval = this.#silenceMs / CHECKS;
    let last = session.readingTime();
    for (let quiet = 0; quiet < this.#silenceMs;) {
      if (this.#isAnswered) return false;
      await pause(interval, signal);
      const now = session.readingTime();
      // Time in which this process was frozen does not count.
      if (this.#unacknowledged === 0) quiet += Math.min(now - last, interval);
      last = now;
    }
    return !this.#isAnswered;
  }
}

function silentBroker(topic: PublishTopic): Failure {
  return new Failure("unreachable", SILENT, {
    why: `it acknowledges, but does not send ${topic} back`,
    remedy:
      "look at the broker's log; let the gateway's user read its status topic, or set probe_secs to 0",
  });
}
