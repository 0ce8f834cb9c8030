import { pause } from "../../base/async.ts";
import { Failure, asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { shouldLog } from "../../base/log.ts";
import type { Session } from "../client/session.ts";
import { ConnectionLost } from "../protocol/message.ts";
import type { Incoming } from "../protocol/message.ts";
import type { PublishTopic } from "../protocol/topics.ts";

/** Finds a connection that acknowledges everything and delivers nothing. */
export interface Probe {
  /** Probes this session at once, and then at intervals, until it is lost. */
  watch(session: Session): void;
  /** A message came, whatever it is: the connection delivers. `until` tells when it may be acknowledged. */
  received(message: Incoming, until: Promise<void> | undefined): void;
  /** Set from a silence on until a message comes, on whatever connection. */
  problem(): Failure | undefined;
}

interface ProbeOptions {
  /** A retained topic: each subscription to it makes the broker send its message, on the way that requests take. */
  readonly topic: PublishTopic;
  readonly qos: 0 | 1 | 2;
  /** From one probe to the next; 0 is no probes. */
  readonly seconds: number;
  readonly log: Log;
}

/** So long nothing at all may be delivered after a probe; never longer than from one probe to the next. */
const SILENCE_MS = 20_000;
const LOOKS = 20;

const DEAF = "the broker delivers nothing on this connection";

export function createProbe(options: ProbeOptions): Probe {
  return new StatusProbe(options);
}

/**
 * A silence counts only where a probe was heard before, by this process, on a subscription that was there
 * already: brokers accept subscriptions that their access list forbids and then send nothing, and some send
 * a retained message to new subscriptions alone. It does not count while messages wait for their
 * acknowledgement, which the broker may be waiting for, nor while reading is held up.
 */
class StatusProbe implements Probe {
  readonly #options: ProbeOptions;
  readonly #silenceMs: number;
  /** Since the last probe. */
  #isHeard = false;
  /** The subscription was there before this probe. */
  #isRepeated = false;
  #isProven = false;
  #unacknowledged = 0;
  /** Probes in a row that nothing came after. */
  #silences = 0;

  constructor(options: ProbeOptions) {
    this.#options = options;
    this.#silenceMs = Math.min(SILENCE_MS, options.seconds * 1000);
  }

  watch(session: Session): void {
    if (this.#options.seconds === 0) return;
    const over = new AbortController();
    void session.lost.then(() => over.abort());
    this.#goOn(session, over.signal).catch((error: unknown) => {
      if (over.signal.aborted || error instanceof ConnectionLost) return;
      const { message, why } = asFailure(error);
      this.#options.log.debug("the connection cannot be probed", { error: message, why });
    });
  }

  received({ topic, retain }: Incoming, until: Promise<void> | undefined): void {
    this.#isHeard = true;
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

  problem(): Failure | undefined {
    return this.#silences > 0 ? deafness(this.#options.topic) : undefined;
  }

  async #goOn(session: Session, signal: AbortSignal): Promise<void> {
    this.#isRepeated = session.resumed;
    for (;;) {
      await this.#probe(session, signal);
      // The first one of a process is repeated at once: a broker may become deaf early.
      const isDue = this.#isHeard && !this.#isProven && !this.#isRepeated;
      this.#isRepeated = true;
      if (!isDue) await pause(this.#options.seconds * 1000, signal);
    }
  }

  async #probe(session: Session, signal: AbortSignal): Promise<void> {
    const { topic, qos, log } = this.#options;
    this.#isHeard = false;
    await session.subscribe([topic], qos, { retained: true });
    if (!(await this.#isSilent(session, signal))) return;
    if (!this.#isProven) {
      log.debug("the connection cannot be probed: the broker does not send our status back");
      return;
    }
    this.#silences += 1;
    // Where a new connection did not help, another one would not help much more.
    if (shouldLog(this.#silences)) session.abort(`${DEAF}: it does not send our status back`);
  }

  async #isSilent(session: Session, signal: AbortSignal): Promise<boolean> {
    const look = this.#silenceMs / LOOKS;
    let last = session.readingTime();
    for (let quiet = 0; quiet < this.#silenceMs;) {
      if (this.#isHeard) return false;
      await pause(look, signal);
      const now = session.readingTime();
      // A process that was frozen has not listened.
      if (this.#unacknowledged === 0) quiet += Math.min(now - last, look);
      last = now;
    }
    return !this.#isHeard;
  }
}

function deafness(topic: PublishTopic): Failure {
  return new Failure("unreachable", DEAF, {
    why: `it acknowledges, but does not send ${topic} back`,
    remedy:
      "look at the broker's log; let the gateway's user read its status topic, or set probe_secs to 0",
  });
}
