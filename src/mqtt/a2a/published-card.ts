import { asFailure } from "../../base/failure.ts";
import { shouldLog, type Log } from "../../base/log.ts";
import { publishOrWarn } from "../agent-channel/further-connection.ts";
import type { Session } from "../client/session.ts";
import { ConnectionLost, type Incoming, type Outgoing } from "../protocol/message.ts";

/** From a card of somebody else to ours, doubled each time up to the bound. */
const AGAIN_MS = 1_000;
const MOST_AGAIN_MS = 60_000;
/** After such a time without another card the count starts again. */
const CALM_MS = 3_600_000;
/** Connections in a row that may end while the card is subscribed to: some brokers do that to who may not read it. */
const MOST_CUTS = 2;

type CardSession = Pick<Session, "lost" | "publish" | "subscribe">;

/**
 * The retained card, which stays as this agent published it: whoever may write there could send others to another agent, and
 * a gateway that ends could say `offline` while another one serves.
 */
export class PublishedCard {
  readonly #card: Outgoing;
  readonly #status: string;
  readonly #log: Log;
  #session: CardSession | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Cards of others since it was calm. */
  #others = 0;
  #lastAt = Number.NEGATIVE_INFINITY;
  #cuts = 0;

  /** `status` is the user property `a2a-status` of the card. */
  constructor(card: Outgoing, status: string, log: Log) {
    this.#card = card;
    this.#status = status;
    this.#log = log;
  }

  /** Publishes the card, and reads what others publish there. Never rejects: the next session does it again. */
  async announce(session: CardSession): Promise<void> {
    void session.lost.then(() => this.#end(session));
    const warning = "the agent card cannot be published";
    if (!(await publishOrWarn(session, this.#card, this.#log, warning))) return;
    // What came before is older, perhaps the will of the last session.
    this.#session = session;
    if (this.#cuts < MOST_CUTS) await this.#watch(session);
  }

  /** The agent ends: its card may say so. */
  close(): void {
    if (this.#session !== undefined) this.#end(this.#session);
  }

  /** Whether it is a message about the card; publishes ours again if it is another one. */
  received({ topic, payload, properties }: Incoming): boolean {
    if (topic !== this.#card.topic) return false;
    if (this.#session === undefined) return true;
    const isOurs = Buffer.from(this.#card.payload).equals(payload);
    // The built-in broker keeps no properties of retained messages.
    const status = properties?.a2aStatus ?? this.#status;
    if (isOurs && status === this.#status) return true;
    const now = performance.now();
    this.#others = now - this.#lastAt > CALM_MS ? 1 : this.#others + 1;
    this.#lastAt = now;
    if (!isOurs && shouldLog(this.#others)) this.#warn();
    const waits = Math.min(AGAIN_MS * 2 ** (this.#others - 1), MOST_AGAIN_MS);
    this.#timer ??= setTimeout(() => void this.#again(), waits);
    this.#timer.unref();
    return true;
  }

  #warn(): void {
    this.#log.warn("somebody has replaced the agent card", {
      topic: this.#card.topic,
      ...(this.#others > 1 && { times: this.#others }),
      try: "let only the user of the gateway write there",
    });
  }

  async #watch(session: CardSession): Promise<void> {
    this.#cuts += 1;
    try {
      await session.subscribe([this.#card.topic], 1, { retained: true });
      this.#cuts = 0;
    } catch (error) {
      if (error instanceof ConnectionLost) return;
      this.#log.debug("the agent card cannot be read", { why: asFailure(error).message });
    }
  }

  async #again(): Promise<void> {
    this.#timer = undefined;
    await this.#session?.publish(this.#card).catch(() => {});
  }

  #end(session: CardSession): void {
    if (this.#session !== session) return;
    this.#session = undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
