import type { Log } from "../../base/log.ts";
import type { KeptSession, SessionNotes } from "../contract.ts";

export interface KeptSessionsOptions {
  readonly clientId: string;
  /** The nodes of the broker: a session at another broker says nothing of this one's. */
  readonly brokers: readonly string[];
  readonly keepAliveSecs: number;
  /** What a former process noted, and where the next one finds what this one knows. */
  readonly notes?: SessionNotes | undefined;
  readonly log: Log;
}

/** A connection that the broker accepted. */
export interface Accepted {
  readonly broker: string;
  /** The broker had kept our session. */
  readonly resumed: boolean;
  /** Seconds for which the broker keeps the session after the connection; undefined if it does not keep it. */
  readonly expirySecs: number | undefined;
}

/** MQTT 5 section 3.1.2.11.2: a session with this expiry does not expire. */
const FOR_EVER_SECS = 0xff_ff_ff_ff;
/** At least so often, and four times within the expiry, it is noted that we are connected. */
const LONGEST_MS = 900_000;
const SHORTEST_MS = 60_000;

const REMEDY =
  "let the broker keep its sessions on disk (mosquitto: persistence true), for as long as session_expiry_secs at least";
const REMEDY_OF_SEVERAL = `${REMEDY}; several addresses must be one cluster that shares its sessions`;

/**
 * Counts the sessions that the broker has lost: it kept one for our client id, the session has not expired, and the
 * broker knows nothing of it (session present 0, MQTT 5 section 3.2.2.1.1). The requests that waited in it are lost.
 *
 * A session counts as expired by its own time, from the last moment on at which the broker certainly saw us: a
 * loss that is noticed late must not look like one of the broker's memory.
 */
export class KeptSessions {
  readonly #options: KeptSessionsOptions;
  #lost = 0;
  #kept: KeptSession | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(options: KeptSessionsOptions) {
    this.#options = options;
  }

  /** Sessions that the broker has lost since this process started. */
  get lost(): number {
    return this.#lost;
  }

  /** Looks whether the broker had to know our session; call it for each connection that it accepts. */
  accepted({ broker, resumed, expirySecs }: Accepted): void {
    const { clientId, brokers, log } = this.#options;
    const before = resumed && expirySecs !== undefined ? undefined : this.#before();
    if (!resumed && expirySecs !== undefined && before && this.#isDue(before)) {
      this.#lost += 1;
      log.warn("the broker did not keep our session: requests sent meanwhile may be lost", {
        broker,
        client_id: clientId,
        away_s: Math.round((Date.now() - before.seenAt) / 1000),
        sessions_lost: this.#lost,
        try: brokers.length > 1 ? REMEDY_OF_SEVERAL : REMEDY,
      });
    }
    this.#kept =
      expirySecs === undefined ? undefined : { clientId, broker, seenAt: Date.now(), expirySecs };
    // This connection has ended what the broker kept.
    if (expirySecs === undefined && before !== undefined) this.#options.notes?.write(undefined);
  }

  /** Notes for the next process that the broker has our session, now and as long as we are connected. */
  connected(): void {
    const { notes } = this.#options;
    if (notes === undefined || this.#kept === undefined) return;
    this.#note(0);
    const { expirySecs } = this.#kept;
    const often = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, expirySecs * 250));
    this.#timer = setInterval(() => this.#note(this.#unseenMs()), often);
    this.#timer.unref();
  }

  /** The connection has ended; `isOurs` if we told the broker so. */
  disconnected(isOurs: boolean): void {
    clearInterval(this.#timer);
    if (this.#kept) this.#note(isOurs ? 0 : this.#unseenMs());
  }

  #before(): KeptSession | undefined {
    return this.#kept ?? this.#options.notes?.read();
  }

  #isDue({ clientId, broker, seenAt, expirySecs }: KeptSession): boolean {
    const away = Date.now() - seenAt;
    // A clock that was set back knows nothing.
    const isExpired = away < 0 || (expirySecs < FOR_EVER_SECS && away >= expirySecs * 1000);
    const { brokers } = this.#options;
    return !isExpired && clientId === this.#options.clientId && brokers.includes(broker);
  }

  /** A lost connection is noticed within one and a half times the keep alive, by the broker and by us. */
  #unseenMs(): number {
    return this.#options.keepAliveSecs * 1500;
  }

  #note(unseenMs: number): void {
    if (this.#kept === undefined) return;
    const seenAt = Math.max(this.#kept.seenAt, Date.now() - unseenMs);
    this.#kept = { ...this.#kept, seenAt };
    this.#options.notes?.write(this.#kept);
  }
}
